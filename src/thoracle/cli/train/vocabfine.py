"""Teach a CT-CLIP a cohort's labels as prompts: `thoracle train vocabfine`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from thoracle.cli.train.command import Run, TrainTask, add_command, setting

if TYPE_CHECKING:
    from thoracle.cohort.samples.dataset import CohortDataset
    from thoracle.training.engine.plan import RunPlan
    from thoracle.training.finetuning.vocabfine import VocabFineConfig


def _config() -> type[VocabFineConfig]:
    from thoracle.training.finetuning.vocabfine import VocabFineConfig

    return VocabFineConfig


def _open_volumes(config: VocabFineConfig) -> CohortDataset:
    from thoracle.cohort.manifest import open_cohort
    from thoracle.cohort.samples.dataset import CohortDataset

    cohort = open_cohort(config.cohort, only=config.only)
    return CohortDataset(cohort, split="train", needs=["labels"], augmentation=config.augmentation, seed=config.seed)


def _prepare(config: VocabFineConfig) -> Run:
    from thoracle.cli.train.pairs import zero_shot
    from thoracle.training.finetuning.vocabfine_run import vocabfine_run

    volumes = _open_volumes(config)
    preprocess, evaluate = volumes.cohort.preprocess, zero_shot(config, config.cohort, batch=config.batch_size)
    return Run(start=lambda world, resume: vocabfine_run(config, volumes, world, preprocess=preprocess, resume=resume, evaluate=evaluate))


def _plan(config: VocabFineConfig, ranks: int, local_ranks: int) -> RunPlan:
    from thoracle.cli.train.pairs import cache_size
    from thoracle.training.finetuning.plan import plan_vocabfine

    volumes = _open_volumes(config)
    sizes = {"samples": len(volumes), "cache": cache_size(volumes.cohort), "ranks": ranks, "local_ranks": local_ranks}
    return plan_vocabfine(config, volumes.cohort.preprocess, **sizes)


VOCABFINE: Final = TrainTask(
    name="vocabfine",
    help="""Teach a CT-CLIP the labels of a cohort as prompts; it stays open to any words. Ends with DIR/model.

    A run that was stopped, in whatever way, goes on with --resume as if it had not been.
    """,
    config=_config,
    prepare=_prepare,
    settings={"init_from": setting("--start", "DIR", "CT-CLIP model folder to go on from", kind=Path)},
    plan=_plan,
)
add_command(VOCABFINE)
