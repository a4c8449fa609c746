"""Lower precision: what is lowered and what is shared, and how its effect is told."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

from thoracle.models.common.linear import Linear
from thoracle.models.ctclip.model import CTCLIP
from thoracle.models.encoder import EncodedText
from thoracle.models.weights import precision
from thoracle.models.weights.precision import compare_precision, to_bfloat16


@pytest.fixture
def model(published) -> CTCLIP:
    model = CTCLIP(published.config)
    model.load_state_dict(published.weights)
    return model.eval()


@pytest.mark.parametrize("tiles", [False, True])
def test_effect_is_small_and_not_nothing(published, model: CTCLIP, monkeypatch: pytest.MonkeyPatch, tiles: bool) -> None:
    """float16, so that the arithmetic can run on any CPU: bfloat16 ends the process where tiles are shown but cannot be used."""
    monkeypatch.setattr(precision, "_has_tiles", lambda: tiles)
    effect = compare_precision(model, to_bfloat16(model, torch.float16), published.expected["volume"])
    assert 0.9 < effect.equal_codes <= 1
    assert 0.99 < effect.latent_cosine <= 1 + 1e-6
    changed = to_bfloat16(model, torch.float16)
    with torch.no_grad():
        tokens = [m.visual_transformer(published.expected["volume"]).pre_quantization_BND for m in (model, changed)]
    assert 1e-5 < ((tokens[0] - tokens[1]).norm() / tokens[0].norm()).item() < 1e-2


def test_float32_changes_nothing(published, model: CTCLIP) -> None:
    effect = compare_precision(model, to_bfloat16(model, torch.float32), published.expected["volume"])
    assert effect.equal_codes == 1
    assert effect.latent_cosine == pytest.approx(1, abs=1e-6)


def test_linear_maps_are_lowered_and_the_rest_is_shared(model: CTCLIP, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_has_tiles", lambda: True)
    before = {key: value.data_ptr() for key, value in model.state_dict().items()}
    twin = to_bfloat16(model, torch.bfloat16)
    lowered = {
        f"{name}.{key}" for name, module in twin.named_modules() if isinstance(module, Linear) for key, _ in module.named_parameters()
    }
    assert "visual_transformer.enc_spatial_transformer.layers.0.1.to_q.weight" in lowered
    assert "visual_transformer.to_pixels.0.weight" not in lowered
    for key, value in twin.state_dict().items():
        assert (value.dtype == torch.bfloat16) == (key in lowered), key
        assert (value.data_ptr() == before[key]) == (key not in lowered) or not value.numel(), key
    assert all(value.dtype == torch.float32 and value.data_ptr() == before[key] for key, value in model.state_dict().items())
    assert not twin.training


def test_without_tiles_weights_are_rounded_and_stay_float32(
    model: CTCLIP, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(precision, "_has_tiles", lambda: False)
    with caplog.at_level(logging.WARNING):
        twin = to_bfloat16(model, torch.bfloat16)
    weight = twin.to_visual_latent.weight
    assert weight.dtype == torch.float32
    assert torch.equal(weight, model.to_visual_latent.weight.bfloat16().float())
    assert "arithmetic stays float32" in caplog.text


@pytest.mark.parametrize(
    ("cpu", "usable"),
    [
        ("cpuid level\t: 32\nflags\t\t: fpu amx_bf16 amx_tile\n", True),
        ("cpuid level\t: 28\nflags\t\t: fpu amx_bf16 amx_tile\n", False),
        ("cpuid level\t: 32\nflags\t\t: fpu avx512_bf16\n", False),
        ("Features\t: asimd bf16\n", False),
    ],
)
def test_tiles_need_the_leaf_that_describes_them(cpu: str, usable: bool, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(cpu)
    monkeypatch.setattr(precision, "CPU_DESCRIPTION", file)
    assert precision._has_tiles() is usable


def test_any_module_can_be_lowered() -> None:
    twin = to_bfloat16(nn.Sequential(Linear(3, 2)), torch.float32)
    assert isinstance(twin, nn.Sequential)


def test_a_lowered_text_encoder_is_nearly_the_same(published, model: CTCLIP, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_has_tiles", lambda: True)
    ids, mask = published.expected["input_ids"], published.expected["attention_mask"]
    with torch.no_grad():
        exact, other = (
            model.encode_text(EncodedText(input_ids_BN=ids, attention_mask_BN=mask)),
            to_bfloat16(model, torch.float16).encode_text(EncodedText(input_ids_BN=ids, attention_mask_BN=mask)),
        )
    assert other.dtype == torch.float32
    assert 1e-6 < (exact - other).norm().item() < 1e-2
