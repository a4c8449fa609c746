"""Train a MedFinder on pairs of volumes and reports: `thoracle train medfinder`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from thoracle.cli.train.command import Run, TrainTask, add_command, setting

if TYPE_CHECKING:
    from thoracle.training.contrastive.medfinder import MedFinderRunConfig
    from thoracle.training.engine.plan import RunPlan


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


def _plan(config: MedFinderRunConfig, ranks: int, local_ranks: int) -> RunPlan:
    from thoracle.cli.train.pairs import cache_size, open_pairs
    from thoracle.models.bundle.pretrained_text import load_pretrained_text
    from thoracle.models.medfinder.model import MedFinder
    from thoracle.training.contrastive.pair_plan import plan_pairs

    bert = load_pretrained_text(Path(config.text)).described()[0] if config.text else config.model.bert
    model = replace(config.model, bert=bert)
    pairs = open_pairs(config)
    return plan_pairs(
        config,
        lambda: MedFinder(model),
        views=config.views,
        frozen_text=config.freeze_text_encoder,
        samples=len(pairs),
        cache=cache_size(pairs.cohort),
        ranks=ranks,
        local_ranks=local_ranks,
    )


MEDFINDER: Final = TrainTask(
    name="medfinder",
    help="""Align two views of volumes with reports. Ends with DIR/model, which `thoracle index` and `thoracle detect` take.

    A run that was stopped, in whatever way, goes on with --resume as if it had not been.
    """,
    config=_config,
    prepare=_prepare,
    settings={"text": setting("--text", "DIR|NAME", "Pretrained text encoder, or its name on the hub")},
    override=_override,
    plan=_plan,
)
add_command(MEDFINDER)
