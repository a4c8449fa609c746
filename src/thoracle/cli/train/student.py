"""Train a smaller CT-CLIP on the latents of a larger one: `thoracle train student`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from thoracle.cli.train.command import Run, TrainTask, add_command, setting
from thoracle.cli.train.progress import encoding

if TYPE_CHECKING:
    from thoracle.training.engine.distributed import World
    from thoracle.training.engine.trainer import Trainer
    from thoracle.training.finetuning.distillation import DistillationConfig


def _config() -> type[DistillationConfig]:
    from thoracle.training.finetuning.distillation import DistillationConfig

    return DistillationConfig


def _prepare(config: DistillationConfig) -> Run:
    from thoracle.cli.train.pairs import zero_shot
    from thoracle.cohort.manifest import open_cohort
    from thoracle.cohort.samples.dataset import CohortDataset
    from thoracle.training.finetuning.distillation_run import distillation_run

    volumes = CohortDataset(open_cohort(config.cohort, only=config.only), split="train")
    evaluate = zero_shot(config, config.cohort, batch=config.batch_size)

    def start(world: World, resume: bool) -> Trainer:
        with encoding(quiet=world.rank > 0) as encoded:
            return distillation_run(config, volumes, world, resume=resume, evaluate=evaluate, encoded=encoded)

    return Run(start=start)


STUDENT: Final = TrainTask(
    name="student",
    help="""Train a smaller CT-CLIP to give the latents of another, without labels or reports. Ends with DIR/model, which detects and
    searches as the other does.

    The teacher's latents are computed once and kept. A run that was stopped, in whatever way, goes on with --resume as if it had not been.
    """,
    config=_config,
    prepare=_prepare,
    settings={"init_from": setting("--teacher", "DIR", "CT-CLIP model folder whose latents are learnt", kind=Path)},
)
add_command(STUDENT)
