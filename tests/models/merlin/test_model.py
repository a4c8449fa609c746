"""A model of the Merlin family: pooling, heads, and bodies without them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from thoracle.models.merlin.model import Merlin, pooled


@torch.no_grad()
def test_published_heads(tiny: Merlin, expected: dict[str, Tensor], error: Callable) -> None:
    encoded = tiny.encode_volume(expected["input"])
    assert error(encoded.tokens.permute(0, 4, 3, 1, 2), expected["layer4"]) < 1e-5
    assert error(pooled(encoded.tokens), expected["pooled"]) < 1e-5
    assert error(encoded.latent_BL, expected["contrastive_normalized"]) < 1e-5
    assert error(encoded.logits_BK, expected["phenotype_logits"]) < 1e-5
    assert error(encoded.logits_BK.sigmoid(), expected["phenotype_probability"]) < 1e-5


@torch.no_grad()
def test_a_body_without_heads(tiny: Merlin, merlin_dir: Path, expected: dict[str, Tensor], error: Callable) -> None:
    published = torch.load(merlin_dir / "tiny_astra.pt", weights_only=True)["state_dict"]
    body = Merlin(replace(tiny.config, contrastive_dim=None, num_labels=0))
    body.load_state_dict({name: tensor for name, tensor in published.items() if not name.endswith("num_batches_tracked")})
    encoded = body.eval().encode_volume(expected["input"])
    assert error(pooled(encoded.tokens), expected["astra_pooled"]) < 1e-5
    assert error(encoded.latent_BL, torch.nn.functional.normalize(expected["astra_pooled"])) < 1e-5
    assert encoded.logits_BK is None


@torch.no_grad()
def test_other_volumes_of_a_batch_change_nothing(tiny: Merlin, expected: dict[str, Tensor]) -> None:
    both, alone = tiny.encode_volume(expected["input"]), tiny.encode_volume(expected["input"][:1])
    torch.testing.assert_close(both.latent_BL[:1], alone.latent_BL)
