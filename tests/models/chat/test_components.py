"""The parts of a chat model: a projector wherever it lies, an encoder that learns no more, and anything else refused by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from thoracle.errors import CapabilityMissing, CheckpointIncomplete, InputError, ModelFolderInvalid
from thoracle.models.bundle.model_folder import ModelFolder, save_model
from thoracle.models.chat.components import load_image_encoder, load_projector
from thoracle.models.ctchat.config import ProjectorConfig
from thoracle.models.ctchat.projector import Projector

#: Of 8 heads, which is what a published file is taken to have.
CONFIG = ProjectorConfig(num_queries=3, dim=8, dim_context=6, attention_dim=16, heads=8, hidden_size=10)


@pytest.fixture
def projector() -> Projector:
    torch.manual_seed(0)
    return Projector(CONFIG)


def _same(one: Projector, other: Projector) -> bool:
    tensors = other.state_dict()
    return one.config == other.config and all(torch.equal(tensor, tensors[name]) for name, tensor in one.state_dict().items())


def test_a_projector_comes_from_its_folder_its_file_or_the_folder_of_its_file(projector: Projector, tmp_path: Path) -> None:
    save_model(
        tmp_path / "ours",
        kind="chat-projector", config=CONFIG, preprocess=None, labels=(), tensors=projector.state_dict(), tokenizer=None,
        licence="x", trained=False,
    )  # fmt: skip
    (tmp_path / "stage1").mkdir()
    (tmp_path / "stage2").mkdir()
    for file, prefix in (
        (tmp_path / "stage1" / "mm_projector.bin", "model.mm_projector."),
        (tmp_path / "stage2" / "non_lora_trainables.bin", "base_model.model.model.mm_projector."),
    ):
        torch.save({f"{prefix}{name}": tensor for name, tensor in projector.state_dict().items()}, file)
    for path in (tmp_path / "ours", tmp_path / "stage1", tmp_path / "stage1" / "mm_projector.bin", tmp_path / "stage2"):
        assert _same(load_projector(path), projector), path


def test_what_was_trained_with_an_adapter_comes_before_what_was_trained_alone(projector: Projector, tmp_path: Path) -> None:
    later = {name: tensor + 1 for name, tensor in projector.state_dict().items()}
    torch.save({f"mm_projector.{name}": tensor for name, tensor in projector.state_dict().items()}, tmp_path / "mm_projector.bin")
    torch.save({f"mm_projector.{name}": tensor for name, tensor in later.items()}, tmp_path / "non_lora_trainables.bin")
    assert all(torch.equal(tensor, later[name]) for name, tensor in load_projector(tmp_path).state_dict().items())


def test_half_precision_of_a_published_file_becomes_float32(projector: Projector, tmp_path: Path) -> None:
    file = tmp_path / "mm_projector.bin"
    torch.save({f"mm_projector.{name}": tensor.bfloat16() for name, tensor in projector.state_dict().items()}, file)
    for name, tensor in load_projector(file).state_dict().items():
        assert torch.equal(tensor, projector.state_dict()[name].bfloat16().float())


def test_what_holds_no_projector_is_refused(encoder: ModelFolder, projector: Projector, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no projector.*thoracle import mm_projector\.bin"):
        load_projector(tmp_path)
    with pytest.raises(CapabilityMissing, match=r"is .*CT-CLIP.*, not a projector"):
        load_projector(encoder.path)
    file, tensors = tmp_path / "mm_projector.bin", {f"mm_projector.{name}": tensor for name, tensor in projector.state_dict().items()}
    torch.save({"visual_transformer.vq._codebook.embed": torch.zeros(1, 2, 3), "to_visual_latent.weight": torch.zeros(2, 2)}, file)
    with pytest.raises(CapabilityMissing, match="not a projector"):
        load_projector(file)
    torch.save({name: tensor for name, tensor in tensors.items() if "ln_k" not in name}, file)
    with pytest.raises(ModelFolderInvalid, match=r"is not a whole projector .*attn_pool\.ln_k\.weight"):
        load_projector(file)
    torch.save({name: tensor for name, tensor in tensors.items() if "query" not in name}, file)
    with pytest.raises(CheckpointIncomplete, match=r"attn_pool\.query"):
        load_projector(file)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(projector: Projector, tmp_path: Path, number: float) -> None:
    tensors = {f"mm_projector.{name}": tensor.clone() for name, tensor in projector.state_dict().items()}
    tensors["mm_projector.ln.weight"][2] = number
    torch.save(tensors, tmp_path / "mm_projector.bin")
    with pytest.raises(ModelFolderInvalid, match=r"holds weights that are no numbers.*as it was published"):
        load_projector(tmp_path)


def test_an_encoder_neither_drops_out_nor_learns(encoder: ModelFolder) -> None:
    module = load_image_encoder(encoder, device=torch.device("cpu"))
    assert isinstance(module, torch.nn.Module)
    assert not any(part.training for part in module.modules())
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_a_model_without_a_grid_of_tokens_is_no_image_encoder(encoder: ModelFolder) -> None:
    with pytest.raises(CapabilityMissing, match="which gives no tokens on a regular grid"):
        load_image_encoder(replace(encoder, kind="chat-projector"), device=torch.device("cpu"))


def test_words_and_others_beside_a_published_projector_are_not_taken_for_its_own(
    projector: Projector, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tensors = {f"base_model.model.model.mm_projector.{name}": tensor for name, tensor in projector.state_dict().items()}
    beside = {"base_model.model.model.embed_tokens.weight": torch.zeros(5, 10), "base_model.model.lm_head.weight": torch.zeros(5, 10)}
    torch.save({**tensors, **beside}, tmp_path / "non_lora_trainables.bin")
    with caplog.at_level("INFO"):
        assert _same(load_projector(tmp_path), projector)
    assert "2 tensors beside the projector's" in caplog.text
