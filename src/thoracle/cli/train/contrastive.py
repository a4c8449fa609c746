"""Train a CT-CLIP on pairs of volumes and reports: `thoracle train contrastive`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, cast

from thoracle.cli.train.command import Run, TrainTask, add_command, setting

if TYPE_CHECKING:
    from thoracle.training.contrastive.ctclip import ContrastiveConfig
    from thoracle.training.engine.plan import RunPlan


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


def _plan(config: ContrastiveConfig, ranks: int, local_ranks: int) -> RunPlan:
    from thoracle.cli.train.pairs import cache_size, open_pairs
    from thoracle.models.ctclip.model import CTCLIP
    from thoracle.models.encoder import TrainableEncoder
    from thoracle.models.imagetext.config import ImageTextConfig
    from thoracle.models.registry import REGISTRY
    from thoracle.training.contrastive.initialization import open_image_encoder, read_text_encoder, text_sizes
    from thoracle.training.contrastive.pair_plan import plan_pairs

    model = replace(config.model, bert=text_sizes(config.model.bert, read_text_encoder(config)))
    pairs = open_pairs(config)
    cache = cache_size(pairs.cohort)
    image = open_image_encoder(config)

    def build() -> TrainableEncoder:
        if image is None:
            return CTCLIP(model)
        sizes = ImageTextConfig(bert=model.bert, dim_latent=model.dim_latent, encoder_kind=image.kind, encoder=image.config)
        return cast(TrainableEncoder, REGISTRY["image-text"].build(sizes))

    frozen = config.locked == "text"
    return plan_pairs(config, build, frozen_text=frozen, samples=len(pairs), cache=cache, ranks=ranks, local_ranks=local_ranks)


CONTRASTIVE: Final = TrainTask(
    name="contrastive",
    help="""Align volumes with reports. Ends with DIR/model, which `thoracle detect` takes.

    A run that was stopped, in whatever way, goes on with --resume as if it had not been.
    """,
    config=_config,
    prepare=_prepare,
    settings={
        "init_text_encoder": setting("--text-weights", "PATH", "A BERT's weights, or a report classifier's folder"),
        "init_image_encoder": setting("--image-model", "DIR", "Model folder of any encoder, whose image side is gone on from"),
    },
    plan=_plan,
)
add_command(CONTRASTIVE)
