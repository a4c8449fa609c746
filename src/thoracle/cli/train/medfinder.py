"""Train a MedFinder on pairs of volumes and reports: `thoracle train medfinder`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from thoracle.cli.train.command import Run, TrainTask, add_command, setting

if TYPE_CHECKING:
    from thoracle.training.contrastive.medfinder import MedFinderRunConfig


def _config() -> type[MedFinderRunConfig]:
    from thoracle.training.contrastive.medfinder import MedFinderRunConfig

    return MedFinderRunConfig


def _override(config: MedFinderRunConfig, values: Mapping[str, Any]) -> MedFinderRunConfig:
    from thoracle.cli.train.encoder import fetched

    config = replace(config, **values)
    return replace(config, text=fetched(config.text))


def _prepare(config: MedFinderRunConfig) -> Run:
    from thoracle.cli.train.pairs import open_pairs, pair_evaluation
    from thoracle.training.contrastive.run import medfinder_run

    pairs = open_pairs(config, excerpt=config.crop_words)
    evaluate = pair_evaluation(config)

    def reports() -> list[str]:
        return [entry.report.text(config.section) for entry in pairs.entries]

    return Run(start=lambda world, resume: medfinder_run(config, pairs, world, words=reports, resume=resume, evaluate=evaluate))


MEDFINDER: Final = TrainTask(
    name="medfinder",
    help="""Align two views of volumes with reports. Ends with DIR/model, which `thoracle index` and `thoracle detect` take.

    A run that was stopped, in whatever way, goes on with --resume as if it had not been.
    """,
    config=_config,
    prepare=_prepare,
    settings={"text": setting("--text", "DIR|NAME", "Pretrained text encoder, or its name on the hub")},
    override=_override,
)
add_command(MEDFINDER)
