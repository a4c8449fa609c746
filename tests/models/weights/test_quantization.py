"""What rounding may cost, by its own bound; and that nothing else is touched."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from thoracle.inference.demo.assets import write_model
from thoracle.models.bundle.model_folder import load_state_dict, open_model, save_model
from thoracle.models.weights.quantization import COMPRESSIONS, Compression, dequantize, quantize


@pytest.mark.parametrize(("kind", "relative"), [("bf16", 2**-8), ("int8", 0.5 / 127)])
def test_a_weight_moves_by_no_more_than_half_a_step(kind: Compression, relative: float) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(7, 33) * torch.logspace(-6, 3, 7)[:, None]
    matrix[3] = 0
    convolution = matrix.view(7, 33, 1, 1, 1).expand(-1, -1, 2, 1, 3).contiguous()
    kept = {"a.weight": matrix, "a.bias": torch.randn(7), "conv.weight": convolution, "embed": torch.randn(3, 3)}
    found = dequantize(quantize(kept, kind))
    assert found.keys() == kept.keys()
    assert all(torch.equal(found[name], kept[name]) for name in ("a.bias", "embed"))
    most = matrix.abs() if kind == "bf16" else matrix.abs().amax(dim=1, keepdim=True)
    assert ((found["a.weight"] - matrix).abs() <= relative * most * 1.0001).all()
    assert torch.equal(found["conv.weight"], found["a.weight"].view(7, 33, 1, 1, 1).expand_as(convolution))
    assert found["a.weight"].dtype == torch.float32


@pytest.mark.parametrize("kind", COMPRESSIONS)
def test_a_compressed_folder_opens_as_any(tmp_path: Path, kind: Compression) -> None:
    before = write_model(tmp_path / "model")
    tensors = load_state_dict(before)
    save_model(
        tmp_path / "small",
        kind=before.kind,
        config=before.config,
        preprocess=before.preprocess,
        labels=before.labels,
        tensors=quantize(tensors, kind),
        tokenizer=before.tokenizer(),
        licence=before.licence,
        trained=before.trained,
    )
    after = open_model(tmp_path / "small", verify=True)
    found = load_state_dict(after)
    assert {name: t.shape for name, t in found.items()} == {name: t.shape for name, t in tensors.items()}
    assert after.weights_bytes < before.weights_bytes * (0.75 if kind == "bf16" else 0.6)
    stored = load_file(tmp_path / "small" / "model.safetensors")
    assert stored["to_visual_latent.weight"].element_size() == (2 if kind == "bf16" else 1)
