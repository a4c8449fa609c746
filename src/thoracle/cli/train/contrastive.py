"""Train a CT-CLIP on pairs of volumes and reports: `thoracle train contrastive`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from thoracle.cli.train.command import Run, TrainTask, add_command, setting

if TYPE_CHECKING:
    from thoracle.training.contrastive.ctclip import ContrastiveConfig


def _config() -> type[ContrastiveConfig]:
    from thoracle.training.contrastive.ctclip import ContrastiveConfig

    return ContrastiveConfig


def _prepare(config: ContrastiveConfig) -> Run:
    from thoracle.cli.train.pairs import open_pairs, pair_evaluation
    from thoracle.training.contrastive.run import contrastive_run

    pairs = open_pairs(config, augmentation=config.augmentation)
    evaluate = pair_evaluation(config)

    def reports() -> list[str]:
        return [entry.report.text(config.section) for entry in pairs.entries]

    return Run(start=lambda world, resume: contrastive_run(config, pairs, world, words=reports, resume=resume, evaluate=evaluate))


CONTRASTIVE: Final = TrainTask(
    name="contrastive",
    help="""Align volumes with reports. Ends with DIR/model, which `thoracle detect` takes.

    A run that was stopped, in whatever way, goes on with --resume as if it had not been.
    """,
    config=_config,
    prepare=_prepare,
    settings={"init_text_encoder": setting("--text-weights", "PATH", "A BERT's weights, or a report classifier's folder")},
)
add_command(CONTRASTIVE)
