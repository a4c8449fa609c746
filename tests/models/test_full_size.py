"""The full-size model: its keys and size, and what the published code computed on a real scan with weights made by a recipe."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from thoracle.models.common.zero_shot import zero_shot_probabilities
from thoracle.models.ctclip.config import PRESETS
from thoracle.models.ctclip.model import CTCLIP
from thoracle.models.encoder import EncodedText


def test_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        model = CTCLIP(PRESETS["ct-clip"])
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(438e6, abs=0.5e6)
    assert model.to_visual_latent.weight.shape == (512, 294_912)


@pytest.mark.slow
def test_published_findings(golden_dir: Path, error: Callable) -> None:
    expected = load_file(golden_dir / "full" / "expected.safetensors")
    model = _by_recipe()
    volume = _published_preprocessing(golden_dir / "preprocess" / "fine_cropped")
    with torch.no_grad():
        encoded = model.encode_volume(volume)
        text = model.encode_text(EncodedText(input_ids_BN=expected["input_ids"], attention_mask_BN=torch.ones_like(expected["input_ids"])))
    unlike = (encoded.codebook_indices != expected["codebook_indices"]).double().mean().item()
    assert unlike <= 1e-3
    sample, expected_sample = encoded.tokens[0, ::5, ::5, ::5], expected["encoded_tokens_sample"]
    assert error(sample, expected_sample) < 0.05 if unlike else torch.allclose(sample, expected_sample)
    assert error(encoded.latent_BL, expected["image_latents"]) < 1e-3
    assert error(text, expected["text_latents"]) < 1e-3
    probabilities = zero_shot_probabilities(text, encoded.latent_BL, model.temperature.exp())[0]
    assert error(probabilities, expected["zero_shot_probabilities"]) < 1e-3


def _by_recipe() -> CTCLIP:
    """Weights as the note beside the expected values makes them; tensors nothing reads stay without memory behind them."""
    with torch.device("meta"):
        model = CTCLIP(PRESETS["ct-clip"])
    model.to_empty(device="cpu")
    for key, value in model.state_dict().items():
        if "first_frame" in key or "to_pixels" in key or "_extra" in key:
            continue
        value.copy_(_value(key, value.shape))
    return model.eval()


def _value(key: str, shape: torch.Size) -> Tensor:
    if key.endswith(("beta", "cluster_size")):
        return torch.zeros(shape)
    if key.endswith("initted"):
        return torch.ones(shape)
    if key == "temperature":
        return torch.tensor(1.3)
    r = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(key.encode())))
    if key.endswith("embed"):
        return F.normalize(r, dim=-1)
    if r.dim() >= 2:
        return r / (r.numel() / shape[0]) ** 0.5
    return 1 + 0.1 * r if key.endswith((".weight", ".gamma", "_scale")) else 0.1 * r


def _published_preprocessing(stem: Path) -> Tensor:
    """(1, 1, 240, 480, 480) of a CT-RATE file and its row, in float64: slope, clip, resample, scale, crop or pad."""
    row = json.loads(stem.with_suffix(".json").read_text())
    stored = np.asarray(nib.load(stem.with_suffix(".nii.gz")).dataobj, dtype=np.float64)
    hu = np.clip(stored * row["RescaleSlope"] + row["RescaleIntercept"], -1000, 1000).transpose(2, 0, 1)
    spacing = (row["ZSpacing"], *row["XYSpacing"])
    size = [int(n * (now / target)) for n, now, target in zip(hu.shape, spacing, (1.5, 0.75, 0.75), strict=True)]
    x = F.interpolate(torch.from_numpy(hu)[None, None], size=size, mode="trilinear", align_corners=False) / 1000
    for axis, target in zip((2, 3, 4), (240, 480, 480), strict=True):
        n = x.shape[axis]
        x = x.narrow(axis, max((n - target) // 2, 0), min(n, target))
        before = max((target - n) // 2, 0)
        pad = [0] * 10
        pad[2 * (4 - axis) : 2 * (4 - axis) + 2] = before, target - x.shape[axis] - before
        x = F.pad(x, pad, value=-1)
    return x.float()
