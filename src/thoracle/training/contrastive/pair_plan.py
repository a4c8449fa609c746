"""Plan a run on pairs: what its model keeps of a chunk of volumes and reports."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from thoracle.models.encoder import EncodedText, TrainableEncoder
from thoracle.training.contrastive.gradient_cache import PairConfig
from thoracle.training.engine.plan import RunPlan, forward_cost, plan_run


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

    def prepared() -> tuple[TrainableEncoder, nn.Module]:
        clip = build()
        module = cast(nn.Module, clip).train()
        for parameter in (*clip.unused_parameters(), *(clip.text_parameters() if frozen_text else ())):
            parameter.requires_grad_(False)
        if clip.codebook is not None:
            cast(nn.Module, clip.codebook).eval()  # it counts tokens in training, which have no values here
        return clip, module

    def chunk_of_pairs() -> tuple[nn.Module, Callable[[], Any], Sequence[Tensor], Iterable[nn.Module]]:
        clip, module = prepared()
        ids_BN = torch.zeros(chunk, min(config.max_text_tokens, clip.max_text_tokens), dtype=torch.int64)
        volume = torch.empty(chunk, views or 1, *config.preprocess.size)
        text = EncodedText(input_ids_BN=ids_BN, attention_mask_BN=torch.ones_like(ids_BN))
        inputs = () if views else (volume,)  # views are made of a volume that is counted with the batch
        return module, lambda: clip.encode_pair_latents(text, volume), inputs, clip.transformer_blocks()

    with torch.device("meta"):
        _, module = prepared()
    return plan_run(
        config,
        forward_cost(chunk_of_pairs, bf16=config.precision == "bf16", checkpointing=config.activation_checkpointing),
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        trained=sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad),
        chunk=chunk,
        voxels=torch.Size(config.preprocess.size).numel(),
        samples=samples,
        cache=cache,
        ranks=ranks,
        local_ranks=local_ranks,
    )
