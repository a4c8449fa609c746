"""COLIPRI's image encoder: the published vectors of each step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from thoracle.models.colipri.image_encoder import rotary_tables
from thoracle.models.colipri.model import Colipri


def test_published_rotary_tables(tiny: Colipri, expected: dict[str, Tensor], error: Callable) -> None:
    sin, cos = rotary_tables(tiny.config, device=torch.device("cpu"))
    assert error(sin.repeat_interleave(2, dim=-1), expected["rope.sin"]) < 1e-6
    assert error(cos.repeat_interleave(2, dim=-1), expected["rope.cos"]) < 1e-6


@torch.no_grad()
def test_published_steps(tiny: Colipri, expected: dict[str, Tensor], error: Callable) -> None:
    encoder = tiny.image_encoder.backbone
    patches = encoder.embed_patches(expected["image.input"])
    assert error(patches.movedim(-1, 1), expected["image.patch_embedding"]) < 1e-6
    tokens, rotation = patches.flatten(1, 3), rotary_tables(tiny.config, device=torch.device("cpu"))
    blocks = list(encoder.blocks())
    assert error(blocks[0].attn(blocks[0].norm1(tokens), rotation), expected["image.block0_attention"]) < 1e-5
    for number, block in enumerate(blocks):
        tokens = block(tokens, rotation)
        if number == 0:
            assert error(tokens, expected["image.block0_output"]) < 1e-5
    assert error(tokens, expected["image.last_block_output"]) < 1e-5


def test_gradients_reach_every_weight(tiny: Colipri, expected: dict[str, Tensor]) -> None:
    parameters = list(tiny.image_encoder.parameters())
    latent = tiny.encode_volume(expected["image.input"]).latent_BL
    gradients = torch.autograd.grad(latent[:, 0].sum(), parameters, allow_unused=True)
    assert all(gradient is not None and bool(gradient.isfinite().all()) for gradient in gradients)
