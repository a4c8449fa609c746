"""The chat folder: it comes back as it was written, finds its encoder and language model, and refuses others."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from thoracle.errors import ModelFolderInvalid, OutputConflict
from thoracle.models.bundle.model_folder import ModelFolder, open_model
from thoracle.models.chat.chat_folder import open_chat, save_chat
from thoracle.models.chat.components import load_projector
from thoracle.models.ctchat.config import ProjectorConfig
from thoracle.models.ctchat.projector import Projector
from thoracle.types import RESEARCH_USE

CONFIG = ProjectorConfig(num_queries=3, dim=8, dim_context=64, attention_dim=8, heads=2, hidden_size=16)
ADAPTER = {"peft_type": "LORA", "r": 2, "target_modules": {"v_proj", "q_proj"}}
ADAPTER_TENSORS = {"q_proj.lora_A": torch.arange(6.0).view(2, 3).T, "q_proj.lora_B": torch.ones(2)}


@pytest.fixture
def projector_tensors() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return Projector(CONFIG).state_dict()


@pytest.fixture
def models(tmp_path: Path, encoder: ModelFolder, base: Path) -> Path:
    """A folder with copies of an encoder and a language model."""
    folder = tmp_path / "models"
    shutil.copytree(encoder.path, folder / "encoder")
    shutil.copytree(base, folder / "base")
    return folder


@pytest.fixture
def save(models: Path, projector_tensors: dict[str, Tensor]) -> Callable[..., Path]:
    """Write a chat folder beside them, without an adapter unless one is named."""

    def save(out: Path = models / "chat", **changes: Any) -> Path:
        values: dict[str, Any] = {
            "encoder": models / "encoder",
            "base": models / "base",
            "projector": CONFIG,
            "projector_tensors": projector_tensors,
            "adapter": None,
            "adapter_tensors": {},
            "caution": "Knows only noise.",
            "notes": ("Trained for 3 steps.",),
        }
        save_chat(out, **values | changes)
        return out

    return save


def test_a_folder_knows_its_parts_and_its_caution(save: Callable[..., Path], models: Path, projector_tensors: dict[str, Tensor]) -> None:
    folder = open_chat(save(adapter=ADAPTER, adapter_tensors=ADAPTER_TENSORS))
    assert folder.encoder.resolve() == (models / "encoder").resolve()
    assert folder.base.resolve() == (models / "base").resolve()
    assert folder.encoder_sha256 == open_model(models / "encoder").weights_sha256
    assert (folder.path, folder.adapter, folder.caution) == (models / "chat", True, "Knows only noise.")
    projector = load_projector(models / "chat" / "projector")
    assert projector.config == CONFIG
    assert all(torch.equal(tensor, projector_tensors[name]) for name, tensor in projector.state_dict().items())
    assert open_model(models / "chat" / "projector").disclaimer == "Knows only noise."


def test_an_adapter_is_written_as_peft_writes_it(save: Callable[..., Path]) -> None:
    adapter = save(adapter=ADAPTER, adapter_tensors=ADAPTER_TENSORS) / "adapter"
    values = json.loads((adapter / "adapter_config.json").read_text())
    assert values == {"peft_type": "LORA", "r": 2, "target_modules": ["q_proj", "v_proj"]}
    tensors = load_file(adapter / "adapter_model.safetensors")
    assert tensors.keys() == ADAPTER_TENSORS.keys()
    assert all(torch.equal(tensor, ADAPTER_TENSORS[name]) for name, tensor in tensors.items())


def test_the_card_says_what_a_person_must_know(save: Callable[..., Path]) -> None:
    folder = open_chat(save())
    card = (folder.path / "README.md").read_text()
    for part in (RESEARCH_USE, "**Knows only noise.**", "Adapter: none", folder.encoder_sha256, folder.base_sha256, "Trained for 3 steps."):
        assert part in card
    assert json.loads((folder.path / "chat.json").read_text())["notice"] == RESEARCH_USE
    assert "**" not in (save(caution="") / "README.md").read_text()


def test_what_moves_together_stays_together(save: Callable[..., Path], models: Path, tmp_path: Path) -> None:
    before = open_chat(save())
    models.rename(tmp_path / "elsewhere")
    after = open_chat(tmp_path / "elsewhere" / "chat")
    assert after.encoder.resolve() == (tmp_path / "elsewhere" / "encoder").resolve()
    assert (after.encoder_sha256, after.base_sha256) == (before.encoder_sha256, before.base_sha256)
    about = (tmp_path / "elsewhere" / "chat" / "chat.json").read_text()
    assert str(tmp_path) not in about, "a path of this machine tells whose it is"


@pytest.mark.parametrize("part", ["encoder", "base"])
def test_a_part_that_was_moved_is_named_and_given(save: Callable[..., Path], models: Path, tmp_path: Path, part: str) -> None:
    save()
    (models / part).rename(tmp_path / "moved")
    with pytest.raises(ModelFolderInvalid, match=rf"its {part} is not at .*Say where it is with --{part} DIR"):
        open_chat(models / "chat")
    folder = open_chat(models / "chat", **{part: tmp_path / "moved"})
    assert getattr(folder, part) == tmp_path / "moved"


def test_another_encoder_or_language_model_is_refused(save: Callable[..., Path], models: Path, encoder: ModelFolder) -> None:
    save()
    weights = load_file(models / "encoder" / "model.safetensors")
    config = json.loads((models / "encoder" / "config.json").read_text())
    (models / "encoder" / "config.json").write_text(json.dumps(config | {"weights_sha256": "0" * 64}))
    with pytest.raises(ModelFolderInvalid, match=r"was trained with another encoder.*--encoder DIR"):
        open_chat(models / "chat")
    assert open_chat(models / "chat", encoder=encoder.path).encoder == encoder.path
    del weights["temperature"]
    save_file(weights, models / "base" / "model.safetensors")
    with pytest.raises(ModelFolderInvalid, match=r"was trained with another language model.*--base DIR"):
        open_chat(models / "chat", encoder=encoder.path)


def test_the_same_weights_behind_another_recipe_are_refused(save: Callable[..., Path], models: Path) -> None:
    """Axes of an input are in no tensor: of COLIPRI both orders were published, and a mirrored scan has its findings on the other side."""
    chat = save()
    recipe = open_chat(chat).encoder_preprocess
    assert recipe == open_model(models / "encoder").preprocess
    config = models / "encoder" / "config.json"
    values = json.loads(config.read_text())
    values["preprocess"]["spacing"] = [3.0, 1.5, 1.5]
    config.write_text(json.dumps(values))
    with pytest.raises(ModelFolderInvalid, match=r"trained with its encoder's weights behind another recipe.*--encoder DIR"):
        open_chat(chat)
    about = json.loads((chat / "chat.json").read_text())
    del about["encoder_preprocess"]  # as folders of before have it
    (chat / "chat.json").write_text(json.dumps(about))
    assert open_chat(chat).encoder_preprocess is None


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda values: "{", "JSONDecodeError"),
        (lambda values: "[]", "no JSON object"),
        (lambda values: json.dumps(values | {"format": "thoracle.chat/0"}), "'thoracle.chat/0', where 'thoracle.chat/1' was expected"),
        (lambda values: json.dumps({name: value for name, value in values.items() if name != "base"}), "KeyError: 'base'"),
        (lambda values: json.dumps(values | {"caution": None}), "None where text was expected"),
        (lambda values: json.dumps(values | {"encoder": 5}), "5 where text was expected"),
        (lambda values: json.dumps(values | {"encoder_preprocess": {"axes": "RAX"}}), "encoder_preprocess"),
    ],
)
def test_a_damaged_description_is_no_chat_folder(save: Callable[..., Path], damage: Callable[[dict[str, Any]], str], says: str) -> None:
    about = save() / "chat.json"
    about.write_text(damage(json.loads(about.read_text())))
    with pytest.raises(ModelFolderInvalid) as error:
        open_chat(about.parent)
    assert error.value.source == str(about.parent)
    assert "is no chat folder" in error.value.detail
    assert says in error.value.detail
    assert "thoracle train chat" in error.value.hint


def test_a_folder_of_something_else_is_no_chat_folder(models: Path) -> None:
    for folder in (models, models / "encoder", models / "nowhere"):
        with pytest.raises(ModelFolderInvalid, match=r"is no chat folder .*No such file"):
            open_chat(folder)


def test_a_chat_folder_is_replaced_whole_and_nothing_else_is(save: Callable[..., Path], models: Path, tmp_path: Path) -> None:
    out = save(adapter=ADAPTER, adapter_tensors=ADAPTER_TENSORS)
    before = open_chat(out)
    assert open_chat(save(caution="Later.")) == replace(before, adapter=False, caution="Later.")
    assert not (out / "adapter").exists()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for foreign in (tmp_path / "notes", tmp_path / "file", models / "encoder"):
        with pytest.raises(OutputConflict, match=r"exists and is no chat folder.*another --out"):
            save(foreign)
    assert (tmp_path / "notes" / "mine.txt").read_text() == (tmp_path / "file").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    assert open_chat(save(tmp_path / "empty")).caution == "Knows only noise."


def test_what_fails_leaves_the_old_folder_and_nothing_beside_it(save: Callable[..., Path], models: Path) -> None:
    before = open_chat(save())
    with pytest.raises(ModelFolderInvalid, match="does not describe a model"):
        save(encoder=models / "base", caution="Later.")
    assert open_chat(before.path) == before
    assert sorted(path.name for path in models.iterdir()) == ["base", "chat", "encoder"]
