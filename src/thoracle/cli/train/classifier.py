"""Train LiPro or another head on a CT-CLIP or another encoder, frozen or not, for a cohort's labels: `thoracle train classifier`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from thoracle.cli.train.command import Run, TrainTask, add_command, setting
from thoracle.cli.train.progress import encoding

if TYPE_CHECKING:
    from thoracle.cohort.samples.dataset import CohortDataset
    from thoracle.training.engine.distributed import World
    from thoracle.training.engine.plan import RunPlan
    from thoracle.training.engine.trainer import Trainer
    from thoracle.training.finetuning.config import ClassifierConfig


def _config() -> type[ClassifierConfig]:
    from thoracle.training.finetuning.config import ClassifierConfig

    return ClassifierConfig


def _open_volumes(config: ClassifierConfig) -> tuple[CohortDataset, CohortDataset | None]:
    """Open the volumes that are trained on, and those that are evaluated on."""
    from thoracle.cli.train.pairs import open_evaluated
    from thoracle.cohort.manifest import open_cohort
    from thoracle.cohort.samples.dataset import CohortDataset

    cohort = open_cohort(config.cohort, only=config.only)
    volumes = CohortDataset(cohort, split="train", needs=["labels"])
    return volumes, CohortDataset(open_evaluated(config, config.cohort), split="dev", needs=["labels"]) if config.eval_every else None


def _prepare(config: ClassifierConfig) -> Run:
    from thoracle.training.finetuning.classifier_run import classifier_run

    volumes, labelled = _open_volumes(config)

    def start(world: World, resume: bool) -> Trainer:
        with encoding(quiet=world.rank > 0) as encoded:
            return classifier_run(config, volumes, labelled, world, resume=resume, encoded=encoded)

    return Run(start=start)


def _plan(config: ClassifierConfig, ranks: int, local_ranks: int) -> RunPlan:
    from thoracle.cli.train.pairs import cache_size
    from thoracle.training.finetuning.plan import plan_classifier

    volumes, labelled = _open_volumes(config)
    sizes = {"samples": len(volumes), "evaluated": len(labelled or ()), "cache": cache_size(volumes.cohort)}
    return plan_classifier(config, volumes.cohort.preprocess, **sizes, ranks=ranks, local_ranks=local_ranks)


CLASSIFIER: Final = TrainTask(
    name="classifier",
    help="""Train a classifier of 18 abnormalities on an encoder (on CT-CLIP: LiPro, ClassFine). Ends with DIR/model for `thoracle detect`.

    What a frozen encoder gives is computed once and kept: a run that was stopped while it encoded goes on where it was, and another seed
    begins at once.
    """,
    config=_config,
    prepare=_prepare,
    settings={"init_from": setting("--start", "DIR", "Model folder of an encoder or a classifier", kind=Path)},
    plan=_plan,
)
add_command(CLASSIFIER)
