"""What each choice of the demo's recipe is worth: one factor at a time, at equal volumes seen, paired by seed, on held-out phantoms.

    python bench/ablate.py COHORT --phantoms PHANTOMS --text LABELER --out DIR           # as `thoracle demo` leaves them; 3 hours
    python bench/ablate.py … --seeds 0 --settings "patch 10" --volumes-seen 1600         # less of each, said in the table
    python bench/ablate.py … --settings                                                   # the table of what DIR holds

A run that was stopped goes on, and what is done is not done again. Each setting stands beside the one that it differs from in one thing:
the data and their order, the volumes seen and the share of them that warms up are alike, and so is the learning rate. AUROC of prompts
and R@10 of reports are of one volume a scan of split valid; a finding's scans are divided in thirds by the voxels that its mask marks, and
AUROC of each third is against the scans without the finding. Impressions are encoded, and scans of the same whole report are hits.
Differences are means over seeds, with 95% over patients.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from thoracle.cohort.manifest import CohortEntry, open_cohort
from thoracle.errors import OutputConflict
from thoracle.evaluation.detection.summary import mean_of_known
from thoracle.evaluation.explanation.masks import find_masks, read_mask
from thoracle.evaluation.predict import first_volume_per_scan, prefetch_volumes
from thoracle.files.json_file import load_json
from thoracle.files.run_settings import check_or_write_settings
from thoracle.inference.model import load
from thoracle.metrics.bootstrap import bootstrap, percentile_interval
from thoracle.metrics.classification import auroc
from thoracle.metrics.retrieval import evaluate_retrieval
from thoracle.models.common.zero_shot import zero_shot_probabilities
from thoracle.types import ABNORMALITIES, FloatArray

CONFIG = Path(__file__).parent.parent / "configs" / "phantom-tiny.yaml"
DEMO = "demo: patch 20, batch 48, InfoNCE"
TWO_RANKS = "two ranks of 24, negatives of both"
CODES = "published pool, of codes"
BATCH, WARM_UP = 48, 0.2


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Hold what a setting changes of the recipe, and which other it is compared with."""

    changes: Mapping[str, object]
    beside: str = DEMO
    batch: int = BATCH
    ranks: int = 1


def patch(size: int, slices: int, parts: int) -> Setting:
    """Change the voxels of a patch; its parts stay of 5 x 5 x 4 voxels."""
    return Setting(changes={"model.ctvit.patch_size": size, "model.ctvit.temporal_patch_size": slices, "model.ctvit.subpatches": parts})


SETTINGS: dict[str, Setting] = {
    DEMO: Setting(changes={}, beside=""),
    "patch 10": patch(10, 8, 2),
    "patch 5": patch(5, 4, 1),
    "batch 12": Setting(changes={}, batch=12),
    "batch 192, in chunks of 48": Setting(changes={"gradient_cache_chunk": BATCH}, batch=192),
    TWO_RANKS: Setting(changes={}, ranks=2),
    "two ranks of 24, negatives of one": Setting(changes={"negatives": "local"}, ranks=2, beside=TWO_RANKS),
    "decoupled": Setting(changes={"model.decoupled_loss": "true"}),
    "CLOOB": Setting(changes={"model.extra_latent_projection": "true"}),
    "sigmoid": Setting(changes={"loss": "sigmoid"}),
    CODES: Setting(changes={"model.spatial_pool": "mean"}),
    "published pool, no codebook": Setting(changes={"model.spatial_pool": "mean", "model.ctvit.quantize": "false"}, beside=CODES),
}
#: Measures of a row, by the weights (R, N) of draws of scans.
Measures = Mapping[str, Callable[[FloatArray], FloatArray]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--phantoms", type=Path, required=True, help="the archive it was prepared from, for sizes of findings")
    parser.add_argument("--text", type=Path, help="what the text encoder begins as: demo/labeler/model; random without it")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--settings", nargs="*", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--volumes-seen", type=int, default=200 * BATCH, help="by each run; the demo's by default")
    parser.add_argument("--smoke", type=int, default=1, metavar="N", help="divide batches and chunks by N: a rehearsal")
    parser.add_argument("--resamples", type=int, default=1000)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    same_run(options)
    for seed in options.seeds:
        for name in options.settings:
            file = scores_file(options.out, name, seed)
            if not file.exists():
                start = time.monotonic()
                score(train(name, seed, options), options.cohort, file)
                print(f"{name}, seed {seed}: {time.monotonic() - start:.0f} s", flush=True)
    print_table(options)


def same_run(options: argparse.Namespace) -> None:
    """Raise OutputConflict where the folder holds runs of other data or budgets."""
    shared = {"cohort": str(options.cohort.resolve()), "volumes_seen": options.volumes_seen, "divided": options.smoke}
    check_or_write_settings(
        options.out / "shared.json", settings=shared, read=load_json, refusal=OutputConflict, hint="Give another --out.", source=options.out
    )


def train(name: str, seed: int, options: argparse.Namespace) -> Path:
    """Train one setting, or go on, and return its model's folder."""
    setting, out = SETTINGS[name], options.out / f"{slug(name)}-{seed}"
    batch = setting.batch // options.smoke
    steps = max(1, options.volumes_seen // batch)
    settings = {
        "seed": seed,
        "init_text_encoder": options.text or '""',
        "batch_size": batch // setting.ranks,
        "steps": steps,
        "optimizer.warmup_steps": round(WARM_UP * steps),
        "save_every": max(1, steps // 4),
        "keep_checkpoints": 1,
        **setting.changes,
    }
    if "gradient_cache_chunk" in setting.changes:
        settings["gradient_cache_chunk"] = BATCH // options.smoke
    changes = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    launcher = [sys.executable, "-m", *(["torch.distributed.run", f"--nproc-per-node={setting.ranks}", "-m"] if setting.ranks > 1 else [])]
    command = [*launcher, "thoracle", "train", "contrastive", "--config", CONFIG, "--cohort", options.cohort, "--out", out, *changes]
    ended = subprocess.run([*map(str, command), "--resume"], capture_output=True, text=True, check=False)
    if ended.returncode:
        sys.exit(f"{name}: {ended.stderr}")
    return out / "model"


def score(folder: Path, cohort: Path, file: Path) -> None:
    """Keep what a model says of held-out scans: probabilities by its prompts, and the cosine of each report and each volume."""
    model, prepared = load(folder, device="cpu"), open_cohort(cohort)
    entries = first_volume_per_scan(prepared, split="valid", section="impression")
    embeddings = [model.encode_volume(volume).latent_BL for _, volume in prefetch_volumes(prepared, entries)]
    latents = np.concatenate([latent.numpy() for latent in embeddings if latent is not None]).astype(np.float64)
    texts = model.encode_text([entry.report.impression for entry in entries]).numpy().astype(np.float64)
    probabilities = [
        zero_shot_probabilities(model.prompt_latents(), latent, model.logit_scale())[0].tolist()
        for latent in embeddings
        if latent is not None
    ]
    arrays = {"probabilities": np.array(probabilities), "cosines": texts @ latents.T}
    with file.with_suffix(".part").open("wb") as part:
        np.savez(part, **arrays)  # type: ignore[arg-type]
    file.with_suffix(".part").rename(file)


def print_table(options: argparse.Namespace) -> None:
    """Print a row a setting: measures as means over its seeds, and differences to what it stands beside at the seeds of both."""
    entries = first_volume_per_scan(open_cohort(options.cohort), split="valid", section="impression")
    truth = np.array([[np.nan if label is None else float(label) for label in entry.labels] for entry in entries])
    thirds = by_size(truth, sizes(entries, options))
    reports = [entry.report.text("both") for entry in entries]  # whole ones decide what belongs together, as in `evaluate retrieval`
    patients = [entry.patient for entry in entries]
    columns = ("AUROC", *thirds, "R@10")
    print(f"{options.volumes_seen:,} volumes seen by each run; {len(entries):,} scans of {len(set(patients)):,} patients")
    print("| setting | seeds |", " | ".join(f"{column} | beside" for column in columns), "|\n| --- | --- |", " --- | --- |" * len(columns))
    runs: dict[tuple[str, int], dict[str, FloatArray]] = {}
    for name, setting in SETTINGS.items():
        seeds = sorted(int(file.stem.rpartition("-")[2]) for file in options.out.glob(f"{slug(name)}-*.npz"))
        for seed in seeds:
            measures = measures_of(np.load(scores_file(options.out, name, seed)), truth, thirds, reports)
            runs[name, seed] = {column: drawn(measure, patients, options.resamples) for column, measure in measures.items()}
        if seeds:
            both = [seed for seed in seeds if (setting.beside, seed) in runs]
            cells = []
            for column in columns:
                cells.append(f"{np.mean([runs[name, seed][column][0] for seed in seeds]):.3f}")
                cells.append(difference([runs[name, seed][column] - runs[setting.beside, seed][column] for seed in both]))
            print(f"| {name} | {' '.join(map(str, seeds))} |", " | ".join(cells), "|", flush=True)


def measures_of(scores: Mapping[str, FloatArray], truth: FloatArray, thirds: Mapping[str, FloatArray], reports: Sequence[str]) -> Measures:
    """Make the columns of the table from what `score` kept."""
    probabilities, cosines = scores["probabilities"], scores["cosines"]
    same = (np.array(reports)[:, None] == np.array(reports)).astype(np.float64)
    hits = evaluate_retrieval(cosines, same, patients=range(len(same)), ks=(10,), resamples=1).per_query["R@10"]

    def area(labels: FloatArray) -> Callable[[FloatArray], FloatArray]:
        return lambda weights_RN: mean_of_known(auroc(probabilities, labels, weights_RN=weights_RN))

    return {
        "AUROC": area(truth),
        **{name: area(labels) for name, labels in thirds.items()},
        "R@10": lambda weights_RN: weights_RN @ hits / weights_RN.sum(axis=1),
    }


def drawn(measure: Callable[[FloatArray], FloatArray], patients: Sequence[str], resamples: int) -> FloatArray:
    """Compute a measure, then its draws over patients, which are the same for all runs."""
    return np.concatenate([measure(np.ones((1, len(patients)))), bootstrap(measure, patients, resamples=resamples)])


def difference(by_seed: Sequence[FloatArray]) -> str:
    """Describe the mean over seeds of differences, with its bounds, and of several seeds the least and most."""
    if not by_seed:
        return ""
    mean = np.mean(by_seed, axis=0)
    (bounds,) = percentile_interval(mean[0], mean[1:])
    values = [seed[0] for seed in by_seed]
    spread = f"; seeds {min(values):+.3f} to {max(values):+.3f}" if len(values) > 1 else ""
    return f"{bounds.value:+.3f} ({bounds.low:+.3f} to {bounds.high:+.3f}){spread}"


def sizes(entries: Sequence[CohortEntry], options: argparse.Namespace) -> FloatArray:
    """Count the voxels that masks mark, (N, K), on the grid of the cohort; once."""
    file = options.out / "sizes.npy"
    if not file.exists():
        masks, preprocess = find_masks(options.phantoms), open_cohort(options.cohort).preprocess
        bits = (read_mask(masks[entry.volume], preprocess).bits_ZXY for entry in entries)
        np.save(file, np.array([[np.count_nonzero(mask >> label & 1) for label in range(len(ABNORMALITIES))] for mask in bits], np.float64))
    table: FloatArray = np.load(file)
    return table


def by_size(truth: FloatArray, counts: FloatArray) -> dict[str, FloatArray]:
    """Keep, of the scans with a finding, the third where it is smallest, or largest; the others are nobody's."""
    ranks = np.full(truth.shape, np.nan)
    for column in range(truth.shape[1]):
        rows = np.flatnonzero(truth[:, column] == 1)
        ranks[rows[np.argsort(counts[rows, column], kind="stable")], column] = np.arange(len(rows)) / max(1, len(rows))
    thirds = {"smallest third": ranks < 1 / 3, "largest third": ranks >= 2 / 3}
    return {name: np.where((truth == 1) & ~third, np.nan, truth) for name, third in thirds.items()}


def scores_file(out: Path, name: str, seed: int) -> Path:
    return out / f"{slug(name)}-{seed}.npz"


def slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name).replace("--", "-")


if __name__ == "__main__":
    main()
