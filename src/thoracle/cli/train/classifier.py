"""Train LiPro or another head on a CT-CLIP, frozen or not, for a cohort's labels: `thoracle train classifier`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from thoracle.cli.train.command import Run, TrainTask, add_command, setting
from thoracle.cli.train.progress import encoding

if TYPE_CHECKING:
    from thoracle.training.engine.distributed import World
    from thoracle.training.engine.trainer import Trainer
    from thoracle.training.finetuning.classifier import ClassifierConfig


def _config() -> type[ClassifierConfig]:
    from thoracle.training.finetuning.classifier import ClassifierConfig

    return ClassifierConfig


def _prepare(config: ClassifierConfig) -> Run:
    from thoracle.cli.train.pairs import open_evaluated
    from thoracle.cohort.manifest import open_cohort
    from thoracle.cohort.samples.dataset import CohortDataset
    from thoracle.training.finetuning.classifier_run import classifier_run

    cohort = open_cohort(config.cohort, only=config.only)
    volumes = CohortDataset(cohort, split="train", needs=["labels"])
    labelled = CohortDataset(open_evaluated(config, config.cohort), split="dev", needs=["labels"]) if config.eval_every else None

    def start(world: World, resume: bool) -> Trainer:
        with encoding(quiet=world.rank > 0) as encoded:
            return classifier_run(config, volumes, labelled, world, resume=resume, encoded=encoded)

    return Run(start=start)


CLASSIFIER: Final = TrainTask(
    name="classifier",
    help="""Train a classifier of 18 abnormalities on a CT-CLIP (LiPro, ClassFine). Ends with DIR/model, which `thoracle detect` takes.

    What a frozen encoder gives is computed once and kept: a run that was stopped while it encoded goes on where it was, and another seed
    begins at once.
    """,
    config=_config,
    prepare=_prepare,
    settings={"init_from": setting("--start", "DIR", "CT-CLIP or classifier model folder", kind=Path)},
)
add_command(CLASSIFIER)
