"""Measure where words beat labels: `python bench/label_share.py COHORT WORDS --out DIR`, by the share of patients who are labelled.

WORDS is a CT-CLIP that learnt from reports; it is asked by prompts, and needs no label. Beside it, for each share and seed: LiPro on its
frozen latents, VocabFine from it, and its encoder from random weights and these labels alone ("supervised"), each with the demo's
settings, so that a share is seen more often the smaller it is. The labelled patients of a seed are nested. Rows are of split valid: macro
AUROC, mean over seeds, and its paired difference to WORDS, with intervals over patients. A run that is there already is not run again.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from region_labels import drawn, probabilities

from thoracle.cohort.manifest import Cohort, CohortEntry, open_cohort
from thoracle.cohort.samples.dataset import CohortDataset
from thoracle.evaluation.detection.summary import mean_of_known
from thoracle.inference.model import load
from thoracle.metrics.bootstrap import bootstrap, paired_difference, percentile_interval
from thoracle.metrics.classification import auroc
from thoracle.training.engine.config import RunConfig, builtin_config, load_config
from thoracle.training.engine.distributed import World
from thoracle.training.engine.trainer import Trainer
from thoracle.training.finetuning.classifier_run import classifier_run
from thoracle.training.finetuning.config import ClassifierConfig
from thoracle.training.finetuning.vocabfine import VocabFineConfig
from thoracle.training.finetuning.vocabfine_run import vocabfine_run
from thoracle.types import FloatArray

Settings = TypeVar("Settings", bound=RunConfig)

_ALONE = World(rank=0, size=1, device=torch.device("cpu"))
WAYS = {"lipro": "phantom-tiny-classifier", "vocabfine": "phantom-tiny-vocabfine", "supervised": "phantom-tiny-supervised"}


def main() -> None:
    """Train what is not there, and print a row each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("words", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--shares", type=float, nargs="+", default=[0.01, 0.1, 1.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, help="in place of the configuration's")
    parser.add_argument("--lr", type=float, help="in place of the configuration's")
    parser.add_argument(
        "--batch-size", type=int, help="in place of the configuration's; a share with fewer volumes takes as many as it has"
    )
    parser.add_argument("--split", default="valid", help="what is scored; settings are chosen on dev")
    parser.add_argument("--resamples", type=int, default=1000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    cohort = open_cohort(options.cohort)
    scored = [entry for entry in cohort.entries if entry.split == options.split and None not in entry.labels]
    words = scores(options.words, cohort, scored, options.out / f"words-{options.split}.npy")
    print(f"{len(scored):,} volumes of split {options.split}; words alone: {row([words], words, scored, options.resamples)}")
    for way in options.ways:
        for share in options.shares:
            runs = [run(way, share, seed, cohort, scored, options) for seed in options.seeds]
            count, seeds = int(np.mean([volumes for volumes, _ in runs])), [score for _, score in runs]
            print(f"{way}, {share:.0%} of patients, {count:,} volumes: {row(seeds, words, scored, options.resamples)}", flush=True)


def run(
    way: str, share: float, seed: int, cohort: Cohort, scored: list[CohortEntry], options: argparse.Namespace
) -> tuple[int, FloatArray]:
    """Train one way on a share, and return how many volumes had labels and the probabilities of the scored ones."""
    out = options.out / f"{way}-{share:g}-{seed}"
    labelled = [entry for entry in cohort.entries if entry.split == "train" and None not in entry.labels]
    patients = list(dict.fromkeys(entry.patient for entry in drawn(labelled, seed=seed)))
    chosen = set(patients[: max(1, round(share * len(patients)))])
    entries = tuple(entry for entry in labelled if entry.patient in chosen)
    if not (out / "model" / "config.json").exists():
        for _ in trainer(way, out, seed, replace(cohort, entries=entries), options).run():
            pass
    return len(entries), scores(out / "model", cohort, scored, out / f"{options.split}.npy")


def trainer(way: str, out: Path, seed: int, cohort: Cohort, options: argparse.Namespace) -> Trainer:
    """Make a run with the demo's settings, new or gone on with."""
    volumes = CohortDataset(cohort, split="train", needs=["labels"])
    if way == "vocabfine":
        tuned = settings(load_config(builtin_config(WAYS[way]), VocabFineConfig), out, seed, len(volumes), options)
        return vocabfine_run(
            replace(tuned, init_from=str(options.words)), volumes, _ALONE, preprocess=cohort.preprocess, resume=out.exists()
        )
    config = settings(load_config(builtin_config(WAYS[way]), ClassifierConfig), out, seed, len(volumes), options)
    if way == "supervised":
        config = replace(config, model=load(options.words, device="cpu").folder.config)
    else:
        config = replace(config, init_from=str(options.words), feature_cache=str(options.out / "latents"))
    return classifier_run(config, volumes, None, _ALONE, resume=out.exists())


def settings(config: Settings, out: Path, seed: int, volumes: int, options: argparse.Namespace) -> Settings:
    """Put the bench's options in place of a configuration's settings."""
    optimizer = replace(config.optimizer, lr=options.lr or config.optimizer.lr)
    batch = min(options.batch_size or config.batch_size, volumes)
    return replace(config, out=str(out), seed=seed, steps=options.steps or config.steps, batch_size=batch, optimizer=optimizer)


def scores(model: Path, cohort: Cohort, entries: list[CohortEntry], file: Path) -> FloatArray:
    """Compute a model's probabilities once."""
    if not file.exists():
        loaded = load(model, device="cpu")
        np.save(file, np.array([probabilities(loaded, cohort, entry) for entry in entries]))
    table: FloatArray = np.load(file)
    return table


def row(seeds: list[FloatArray], words: FloatArray, entries: list[CohortEntry], resamples: int) -> str:
    """Describe the macro AUROC, mean over seeds, and its difference to words alone."""
    truth = np.array([entry.labels for entry in entries], dtype=np.float64)
    patients = [entry.patient for entry in entries]

    def macro(tables: list[FloatArray], weights_RN: FloatArray | None = None) -> FloatArray:
        return np.mean([mean_of_known(auroc(table, truth, weights_RN=weights_RN)) for table in tables], axis=0)

    value, other = macro(seeds), macro([words])
    draws, others = (bootstrap(partial(macro, tables), patients, resamples=resamples, seed=0) for tables in (seeds, [words]))
    (shown,) = percentile_interval(value, draws)
    (difference,) = paired_difference(value, other, draws, others)
    each = ", ".join(f"{float(macro([table])):.3f}" for table in seeds)
    text = f"{shown.value:.3f} ({shown.low:.3f} to {shown.high:.3f}); seeds {each}"
    return text + f"; less words {difference.value:+.3f} ({difference.low:+.3f} to {difference.high:+.3f})"


if __name__ == "__main__":
    main()
