"""Measure what `thoracle train regions` gives by how many scans have labels: `python bench/region_labels.py COHORT MODEL --out DIR`.

Rows: nested sets of scans of split train, of patients in a drawn order; all of them; and all with MODEL's own answers in place of labels,
present where its prompts say 0.5 or more. Each is fitted to DIR and scored on split dev by true labels, with intervals over patients; with
`--masks`, `thoracle evaluate explanation` scores its maps on the first volumes of dev. A fit that is there already is not run again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from thoracle.cohort.manifest import Cohort, CohortEntry, open_cohort
from thoracle.cohort.samples.volume_cache import read_volume
from thoracle.evaluation.detection.summary import mean_of_known
from thoracle.inference.model import Model, load
from thoracle.inference.prepare import prepared_array
from thoracle.metrics.bootstrap import bootstrap, paired_difference, percentile_interval
from thoracle.metrics.classification import auroc
from thoracle.training.engine.distributed import World
from thoracle.training.regions.run import fit_regions
from thoracle.types import ABNORMALITIES, FloatArray

_ALONE = World(rank=0, size=1, device=torch.device("cpu"))
_ANSWERS = "answers"


def main() -> None:
    """Fit what is not there, and print a row each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("model", type=Path, help="is prompted, and gives patches")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="*", default=[100, 400, 1600])
    parser.add_argument("--seed", type=int, default=0, help="of the order of patients")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--masks", type=Path, help="phantoms whose masks score the maps")
    parser.add_argument("--limit", type=int, default=200, help="volumes whose maps are scored")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    cohort, model = open_cohort(options.cohort), load(options.model, device="cpu")
    train = drawn([entry for entry in cohort.entries if entry.split == "train" and None not in entry.labels], seed=options.seed)
    dev = tuple(entry for entry in cohort.entries if entry.split == "dev" and None not in entry.labels)
    sizes = [*(size for size in options.sizes if size < len(train)), len(train)]
    names = [*map(str, sizes), _ANSWERS]
    for name, count in zip(names, [*sizes, len(train)], strict=True):
        if not (options.out / f"{name}.npz").exists():
            entries = answered(model, cohort, train) if name == _ANSWERS else train[:count]
            fit(replace(cohort, entries=(*entries, *dev)), options.model, options.out / name)
    own = predicted(model, cohort, dev, options.out / "model.npz")
    print(f"macro AUROC on {len(dev):,} scans of split dev; difference to MODEL's prompts; CPU seconds; maps: leads over the better atlas")
    print(f"MODEL: {interval(dev, own, own, resamples=options.resamples)}")
    for name in names:
        kept = np.load(options.out / f"{name}.npz")
        row = f"{name}: {interval(dev, kept['probabilities'], own, resamples=options.resamples)}; {float(kept['seconds']):.0f} s"
        print(row + (f"; {leads(options.out / name, options)}" if options.masks else ""), flush=True)


def drawn(entries: Sequence[CohortEntry], *, seed: int) -> list[CohortEntry]:
    """Put the scans of patients in a drawn order."""
    patients = sorted({entry.patient for entry in entries})
    order = dict(zip(np.random.default_rng(seed).permutation(patients).tolist(), range(len(patients)), strict=True))
    return sorted(entries, key=lambda entry: order[entry.patient])


def answered(model: Model, cohort: Cohort, entries: Sequence[CohortEntry]) -> list[CohortEntry]:
    """Put a model's answers in place of labels."""
    return [replace(entry, labels=tuple(int(p >= 0.5) for p in probabilities(model, cohort, entry))) for entry in entries]


def probabilities(model: Model, cohort: Cohort, entry: CohortEntry) -> tuple[float, ...]:
    """Compute what a model's prompts say of a scan."""
    return model.detect(
        prepared_array(read_volume(cohort.folder / entry.cache)), abnormalities=ABNORMALITIES, calibrated=False
    ).probabilities


def predicted(model: Model, cohort: Cohort, entries: Sequence[CohortEntry], file: Path) -> FloatArray:
    """Compute what a model's prompts say of scans, once."""
    if not file.exists():
        np.savez(file, probabilities=np.array([probabilities(model, cohort, entry) for entry in entries]))
    said: FloatArray = np.load(file)["probabilities"]
    return said


def fit(cohort: Cohort, model: Path, out: Path) -> None:
    """Fit, and keep probabilities of dev in the order of the cohort's entries; NaN where a scan was refused or a finding left out."""
    start = time.process_time()
    fitted = fit_regions(str(model), cohort, out, world=_ALONE)
    seconds = time.process_time() - start
    rows = {entry.volume: row for row, entry in enumerate(entry for entry in cohort.entries if entry.split == "dev")}
    kept = np.full((len(rows), len(ABNORMALITIES)), np.nan)
    columns = [ABNORMALITIES.index(label) for label in fitted.folder.labels]
    kept[np.ix_([rows[entry.volume] for entry in fitted.entries], columns)] = fitted.probabilities_SK
    np.savez(out.with_suffix(".npz"), probabilities=kept, seconds=seconds)


def interval(entries: Sequence[CohortEntry], said: FloatArray, own: FloatArray, *, resamples: int) -> str:
    """Describe the macro AUROC of findings that were fitted, and its difference to the model's own of the same."""
    scans, labels = (np.flatnonzero(~np.isnan(said).all(axis=axis)) for axis in (1, 0))
    truth = np.array([entry.labels for entry in entries], dtype=np.float64)[np.ix_(scans, labels)]
    patients = [entries[int(row)].patient for row in scans]

    def macro(values: FloatArray, weights_RN: FloatArray | None) -> FloatArray:
        return mean_of_known(auroc(values[np.ix_(scans, labels)], truth, weights_RN=weights_RN))

    value, other = macro(said, None), macro(own, None)
    draws, others = (bootstrap(lambda w, v=v: macro(v, w), patients, resamples=resamples, seed=0) for v in (said, own))  # type: ignore[misc]
    (shown,) = percentile_interval(value, draws)
    (difference,) = paired_difference(value, other, draws, others)
    over = "" if labels.all() else f" over {int(labels.sum())} findings"
    first, second = (f"({shown.low:.3f} to {shown.high:.3f})", f"({difference.low:+.3f} to {difference.high:+.3f})")
    return f"{shown.value:.3f} {first}, {difference.value:+.3f} {second}{over}"


def leads(model: Path, options: argparse.Namespace) -> str:
    """Score maps of a fitted model, and describe each score with its lead over the better atlas."""
    out = model.with_name(f"{model.name}-maps")
    command = [sys.executable, "-m", "thoracle", "evaluate", "explanation", model, options.cohort, "--masks", options.masks, "--out", out]
    settings = ["--method", "regions", "--split", "dev", "--limit", options.limit, "--resamples", options.resamples, "--device", "cpu"]
    subprocess.run([*map(str, command), *map(str, settings)], check=True, stdout=subprocess.DEVNULL)
    averaged = json.loads((out / "explanation.json").read_text())["found"]["all abnormalities"]
    return ", ".join(
        f"{metric} {averaged['scores'][metric]['regions']['value']:.3f} {lead['value']:+.3f} ({lead['low']:+.3f} to {lead['high']:+.3f})"
        for metric, lead in ((metric, over["better atlas"]) for metric, over in averaged["over"].items())
    )


if __name__ == "__main__":
    main()
