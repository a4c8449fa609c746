"""Teach a CT-CLIP a cohort's labels as prompts: `thoracle train vocabfine`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from thoracle.cli.train.command import Run, TrainTask, add_command, setting

if TYPE_CHECKING:
    from thoracle.training.finetuning.vocabfine import VocabFineConfig


def _config() -> type[VocabFineConfig]:
    from thoracle.training.finetuning.vocabfine import VocabFineConfig

    return VocabFineConfig


def _prepare(config: VocabFineConfig) -> Run:
    from thoracle.cli.train.pairs import zero_shot
    from thoracle.cohort.manifest import open_cohort
    from thoracle.cohort.samples.dataset import CohortDataset
    from thoracle.training.finetuning.vocabfine_run import vocabfine_run

    cohort = open_cohort(config.cohort, only=config.only)
    volumes = CohortDataset(cohort, split="train", needs=["labels"], augmentation=config.augmentation, seed=config.seed)
    preprocess, evaluate = volumes.cohort.preprocess, zero_shot(config, config.cohort, batch=config.batch_size)
    return Run(start=lambda world, resume: vocabfine_run(config, volumes, world, preprocess=preprocess, resume=resume, evaluate=evaluate))


VOCABFINE: Final = TrainTask(
    name="vocabfine",
    help="""Teach a CT-CLIP the labels of a cohort as prompts; it stays open to any words. Ends with DIR/model.

    A run that was stopped, in whatever way, goes on with --resume as if it had not been.
    """,
    config=_config,
    prepare=_prepare,
    settings={"init_from": setting("--start", "DIR", "CT-CLIP model folder to go on from", kind=Path)},
)
add_command(VOCABFINE)
