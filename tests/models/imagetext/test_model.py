"""What of an encoder reaches the loss, for every kind that has latents."""

from __future__ import annotations

import pytest
import torch

from tests.models.tiny_configs import CONFIGS, SIZES, TINY, installed
from thoracle.models.encoder import Capability, EncodedText
from thoracle.models.imagetext.config import ImageTextConfig
from thoracle.models.imagetext.model import ImageTextEncoder
from thoracle.models.registry import REGISTRY

WRAPPERS = ("image-text", "token-classifier")  # of an encoder of another kind
KINDS = [kind for kind, config in CONFIGS.items() if kind not in WRAPPERS and Capability.LATENTS in REGISTRY[kind].capabilities(config)]
TEXT = EncodedText(input_ids_BN=torch.tensor([[2, 5, 3]] * 2), attention_mask_BN=torch.ones(2, 3, dtype=torch.int64))


def build(kind: str) -> ImageTextEncoder:
    torch.manual_seed(0)
    config = ImageTextConfig(bert=TINY.bert, dim_latent=16, encoder_kind=kind, encoder=CONFIGS[kind])
    return REGISTRY["image-text"].build(config)


@pytest.mark.parametrize("kind", installed(KINDS))
def test_all_that_is_not_named_unused_gets_a_gradient(kind: str) -> None:
    model = build(kind).train()
    text_BL, image_BL = model.encode_pair_latents(TEXT, torch.rand(2, 1, *SIZES.get(kind, (60, 120, 120))))
    (text_BL * image_BL.roll(1, dims=0) * torch.linspace(-1, 1, 16)).sum().backward()
    unused = {id(parameter) for parameter in model.unused_parameters()} | {id(model.temperature)}
    without = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert without == {name for name, parameter in model.named_parameters() if id(parameter) in unused}


def test_running_statistics_stay_and_neighbours_do_not_matter() -> None:
    model = build("merlin").train()
    before = {name: tensor.clone() for name, tensor in model.named_buffers()}
    volumes = torch.rand(2, 1, 60, 120, 120)
    together = model.encode_volume(volumes).latent_BL
    torch.testing.assert_close(model.encode_volume(volumes[:1]).latent_BL, together[:1])
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.named_buffers())
    assert before


def test_codes_do_not_move() -> None:
    model = build("ct-clip").train()
    before = model.encoder.codebook.embed.clone()
    model.encode_volume(torch.rand(1, 1, 60, 120, 120))
    assert torch.equal(model.encoder.codebook.embed, before)
