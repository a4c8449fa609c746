"""Both grids of one encoder in one frame: a shifted patient gives a shifted map and the same findings."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from thoracle.ct.chest.input_box import InputBox
from thoracle.models.ctclip.config import PRESETS
from thoracle.models.ctclip.model import CTCLIP
from thoracle.models.regions.config import ReaderConfig, RegionsConfig
from thoracle.models.regions.model import RegionModel, place, region_features

TINY = PRESETS["tiny"]
WINDOWED = replace(TINY, ctvit=replace(TINY.ctvit, hu_windows=((-1.0, -0.4), (-0.2, 0.3)), subpatches=2, dim_cell=8))
#: Of 6 cells an axis: lungs over three of them, with a margin that stays in the input when they move by one.
BOX = InputBox(low=(1 / 6, 1 / 6, 1 / 6), high=(4 / 6, 4 / 6, 4 / 6), encloses="lungs")
MOVED = InputBox(low=(2 / 6, 1 / 6, 1 / 6), high=(5 / 6, 4 / 6, 4 / 6), encloses="lungs")


def model(*, cells: bool, before_attention: bool = True) -> RegionModel:
    tokens = ReaderConfig(grid=(6, 6, 6), dim=TINY.ctvit.dim, components=3, frame=(4, 4, 4), sigma=0.4)
    config = RegionsConfig(
        labels=("Emphysema", "Pleural effusion"),
        margin=0.1,
        tokens=tokens,
        cells=replace(tokens, grid=(12, 12, 12), dim=6, components=6, frame=(8, 8, 8)) if cells else None,
        before_attention=before_attention,
        encoder_kind="ct-clip",
        encoder=WINDOWED if cells else TINY,
    )
    torch.manual_seed(0)
    built = RegionModel(config, CTCLIP(config.encoder)).eval()
    for reader in filter(None, (built.tokens, built.cells)):
        for name, buffer in reader.named_buffers():
            buffer.copy_(torch.rand(buffer.shape) if name == "prior_KN" else torch.randn(buffer.shape))
    return built


def volumes() -> Tensor:
    """A block within air, and the same one patch further along slices."""
    air = torch.full((1, 1, 60, 120, 120), -1.0)
    air[:, :, 10:40, 20:80, 20:80] = torch.rand(1, 1, 30, 60, 60, generator=torch.Generator().manual_seed(1))
    return torch.cat([air, torch.roll(air, 10, dims=2)])


@torch.no_grad()
@pytest.mark.parametrize("cells", [True, False])
def test_a_shifted_patient_gives_a_shifted_map_and_the_same_findings(cells: bool) -> None:
    regions = model(cells=cells)
    reading = regions.read_regions(volumes(), [BOX, MOVED])
    step = 2 if cells else 1
    assert reading.maps_BKTHW.shape == (2, 2, *((6 * step,) * 3))
    assert reading.logits_BK.shape == (2, 2)
    torch.testing.assert_close(reading.logits_BK[0], reading.logits_BK[1], atol=1e-4, rtol=1e-4)
    here, there = reading.maps_BKTHW
    torch.testing.assert_close(torch.roll(here, step, dims=1), there, atol=1e-4, rtol=1e-3)
    assert float(here[:, 2 * step, 2 * step, 2 * step].min()) > 0
    assert not here[:, 5 * step :].any()  # outside the frame
    assert not torch.allclose(here, there)


@torch.no_grad()
def test_the_mean_of_the_eight_strongest_places_of_the_tokens_decides() -> None:
    regions = model(cells=True)
    regions.scale_K.copy_(torch.tensor([2.0, 0.5]))
    regions.shift_K.copy_(torch.tensor([-3.0, 1.0]))
    features = region_features(regions.encoder, volumes(), before_attention=True)
    tokens, cells = features.grids
    assert features.latent_BL is None
    assert cells.shape == (2, 12, 12, 12, 6)
    maps = regions.tokens(place(regions.tokens, tokens, [BOX, MOVED], margin=0.1))
    strongest = maps.sort(dim=-1, descending=True).values[..., :8].sum(dim=-1) / 8
    expected = strongest * torch.tensor([2.0, 0.5]) + torch.tensor([-3.0, 1.0])
    torch.testing.assert_close(regions.read_regions(volumes(), [BOX, MOVED]).logits_BK, expected)


@torch.no_grad()
def test_tokens_after_attention_are_taken_of_an_encoder_that_gives_no_others() -> None:
    regions = model(cells=False, before_attention=False)
    volume = volumes()
    torch.testing.assert_close(regions.encode_volume(volume).tokens, regions.encoder.encode_volume(volume).tokens)
    before = model(cells=False)
    torch.testing.assert_close(before.encode_volume(volume).tokens, before.encoder.visual_transformer.embed(volume))
    assert before.outputs.token_dim == before.encode_volume(volume).tokens.shape[-1]
