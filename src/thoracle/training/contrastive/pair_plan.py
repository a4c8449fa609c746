"""Plan a run on volumes and texts: what its model keeps of a chunk of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import torch
from torch import nn

from thoracle.models.encoder import EncodedText, TrainableEncoder
from thoracle.training.contrastive.dual_encoder import wrap_blocks
from thoracle.training.contrastive.gradient_cache import PairConfig
from thoracle.training.engine.config import RunConfig
from thoracle.training.engine.plan import RunPlan, StepOutline, plan_run, step_cost


def plan_pairs(
    config: PairConfig,
    build: Callable[[], TrainableEncoder],
    *,
    views: int = 0,
    frozen_text: bool = False,
    samples: int,
    cache: int,
    ranks: int,
    local_ranks: int,
) -> RunPlan:
    """Plan a run from its configuration and the sizes of its data.

    Args:
        config: of the run.
        build: makes the model, with whatever weights.
        views: of a volume, for a model that takes several; 0 for one that takes the volume.
        frozen_text: the text encoder does not learn.
        samples: of the training split.
        cache: bytes of the cohort's cache.
        ranks, local_ranks: of the run, and of a node.
    """
    chunk = config.gradient_cache_chunk or config.batch_size

    def outline() -> StepOutline:
        return outline_dual_encoder(
            config, build(), chunk=chunk, size=config.preprocess.size, texts=chunk, tokens=config.max_text_tokens, views=views,
            frozen_text=frozen_text,
        )  # fmt: skip

    return plan_run(
        config,
        step_cost(outline, half=config.precision != "float32"),
        chunk=chunk,
        voxels=torch.Size(config.preprocess.size).numel(),
        samples=samples,
        cache=cache,
        ranks=ranks,
        local_ranks=local_ranks,
    )


def outline_dual_encoder(
    config: RunConfig,
    clip: TrainableEncoder,
    *,
    chunk: int,
    size: tuple[int, int, int],
    texts: int,
    tokens: int,
    views: int = 0,
    frozen_text: bool = False,
) -> StepOutline:
    """Describe a step that encodes volumes and texts.

    Args:
        config: of the run.
        clip: with whatever weights.
        chunk: volumes that are encoded at once.
        size: of a volume.
        texts: that are encoded beside them.
        tokens: of a text at most.
        views, frozen_text: as in `plan_pairs`.
    """
    module = cast(nn.Module, clip).train()
    for parameter in (*clip.unused_parameters(), *(clip.text_parameters() if frozen_text else ())):
        parameter.requires_grad_(False)
    if clip.codebook is not None:
        cast(nn.Module, clip.codebook).eval()  # it counts tokens in training, which have no values here
    ids_BN = torch.zeros(texts, min(tokens, clip.max_text_tokens), dtype=torch.int64)
    text = EncodedText(input_ids_BN=ids_BN, attention_mask_BN=torch.ones_like(ids_BN))
    volume = torch.empty(chunk, 1, *size)

    def forward() -> tuple[torch.Tensor, ...]:
        # Views are made of a volume that is counted with the batch.
        return clip.encode_pair_latents(text, torch.empty(chunk, views, *size) if views else volume)

    return StepOutline(module=module, forward=forward, blocks=wrap_blocks(clip, replace(config, compile=False)))
