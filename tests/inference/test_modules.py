from __future__ import annotations

from pathlib import Path

import pytest
import torch

from thoracle.errors import CapabilityMissing, InputError
from thoracle.inference.demo.assets import write_model
from thoracle.inference.modules import device_of, exact_inference, load_encoder
from thoracle.models.bundle.model_folder import open_model, save_model
from thoracle.models.common.shapes import module_shapes
from thoracle.models.ctchat.config import ProjectorConfig
from thoracle.models.ctchat.projector import Projector


def test_devices_by_name() -> None:
    assert device_of("cpu").type == "cpu"
    assert device_of("auto").type in ("cpu", "cuda")
    for name in ("cuda:99", "tpu", "meta"):
        with pytest.raises(InputError, match="no device"):
            device_of(name)


def test_an_encoder_is_loaded_without_gradient(tmp_path: Path) -> None:
    encoder = load_encoder(write_model(tmp_path / "m"), device=torch.device("cpu"), precision="float32")
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert not encoder.training


def test_a_model_without_volumes_is_refused_with_those_that_have_them(tmp_path: Path) -> None:
    config = ProjectorConfig(num_queries=4, dim=16, dim_context=16, attention_dim=16, heads=4, hidden_size=24)
    tensors = {name: torch.zeros(shape) for name, shape in module_shapes(Projector, config).items()}
    facts = {"preprocess": None, "labels": (), "tokenizer": None, "licence": "", "trained": False}
    save_model(tmp_path / "p", kind="chat-projector", config=config, tensors=tensors, **facts)
    with pytest.raises(CapabilityMissing, match="CT-CLIP"):
        load_encoder(open_model(tmp_path / "p"), device=torch.device("cpu"), precision="float32")


def test_exact_inference_has_no_gradient_and_no_tf32() -> None:
    with exact_inference():
        assert torch.is_inference_mode_enabled()
        assert torch.backends.cudnn.allow_tf32 is False
