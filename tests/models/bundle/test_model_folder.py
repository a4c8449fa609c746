"""A model folder is whole or absent, says what it is, and notices what was done to it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.models.tiny_configs import CONFIGS, TINY, installed
from thoracle.config_reader import config_to_mapping
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.errors import ModelFolderInvalid, OutputConflict, TokenizerMissing
from thoracle.models.bundle import model_folder as module
from thoracle.models.bundle.model_folder import ModelFolder, load_state_dict, open_model, save_model
from thoracle.models.ctchat.config import ProjectorConfig
from thoracle.models.ctclip.config import CTCLIPConfig
from thoracle.models.registry import REGISTRY
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.types import ABNORMALITIES, RESEARCH_USE


def weights(kind: str = "ct-clip") -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {name: torch.randn(shape) for name, shape in REGISTRY[kind].weight_shapes(CONFIGS[kind]).items()}


def save(out: Path, *, kind: str = "ct-clip", tokenizer: Tokenizer | None = None, trained: bool = False) -> ModelFolder:
    return save_model(
        out,
        kind=kind,
        config=CONFIGS[kind],
        preprocess=PreprocessConfig(size=(60, 120, 120)),
        labels=ABNORMALITIES,
        tensors=weights(kind),
        tokenizer=tokenizer,
        licence="none: random weights",
        trained=trained,
        assumptions=("heads = 4",),
    )


@pytest.mark.parametrize("kind", installed(REGISTRY))
def test_what_is_saved_is_what_is_opened(tmp_path: Path, kind: str) -> None:
    saved = save(tmp_path / "model", kind=kind, tokenizer=Tokenizer.from_words(["lung nodule"]))
    opened = open_model(tmp_path / "model", verify=True)
    assert opened == saved
    tensors = load_state_dict(opened)
    assert tensors.keys() == weights(kind).keys()
    assert all(torch.equal(tensors[k], v) and tensors[k].shape == v.shape for k, v in weights(kind).items())


def test_the_folder_holds_four_things_and_no_path(tmp_path: Path) -> None:
    save(tmp_path / "Jane_Doe_model", tokenizer=Tokenizer.from_words(["lung nodule"]))
    (out,) = tmp_path.iterdir()
    assert sorted(p.name for p in out.iterdir()) == ["README.md", "config.json", "model.safetensors", "tokenizer"]
    text = (out / "config.json").read_text() + (out / "README.md").read_text()
    assert "Jane_Doe" not in text
    assert str(tmp_path) not in text


def test_the_card_says_what_must_be_known(tmp_path: Path) -> None:
    save(tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    for part in (RESEARCH_USE, "Untrained", "none: random weights", "heads = 4", "spacing", '"dim": 64'):
        assert part in card
    save(tmp_path / "trained", trained=True)
    assert "ntrained" not in (tmp_path / "trained" / "README.md").read_text()


def test_empty_and_tied_tensors_are_kept(tmp_path: Path) -> None:
    tensors = weights()
    tensors["to_text_latent_extra.weight"] = tensors["to_text_latent.weight"]
    tensors["to_visual_latent.weight"] = tensors["to_visual_latent.weight"].T.contiguous().T
    assert not tensors["to_visual_latent.weight"].is_contiguous()
    saved = save_model(
        tmp_path / "m",
        kind="ct-clip", config=TINY, preprocess=PreprocessConfig(), labels=(), tensors=tensors, tokenizer=None, licence="x", trained=False,
    )  # fmt: skip
    back = load_state_dict(saved)
    assert back["visual_transformer.enc_spatial_transformer.layers.0.1.null_kv"].shape == (4, 0, 16)
    assert all(torch.equal(back[k], v) for k, v in tensors.items())


def test_a_model_is_replaced_and_kept_latents_go_with_it(tmp_path: Path) -> None:
    first = save(tmp_path / "model")
    (tmp_path / "model" / "prompt-latents-ab.safetensors").write_bytes(b"x")
    second = save(tmp_path / "model", kind="ctvit")
    assert open_model(tmp_path / "model") == second != first
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model"]
    assert not list((tmp_path / "model").glob("prompt-latents*"))


@pytest.mark.parametrize("content", [{"notes.txt": "mine"}, {"config.json": "{}"}, {"config.json": '{"format": "other"}'}])
def test_what_is_not_ours_is_not_overwritten(tmp_path: Path, content: dict[str, str]) -> None:
    for name, text in content.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(OutputConflict):
        save(tmp_path)
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == content


def test_a_folder_of_an_earlier_format_can_be_made_again(tmp_path: Path) -> None:
    save(tmp_path / "model")
    _edit(tmp_path / "model", format="thoracle.model/1")
    with pytest.raises(ModelFolderInvalid, match=r"thoracle\.model/1"):
        open_model(tmp_path / "model")
    assert open_model(save(tmp_path / "model").path).trained is False


def test_a_users_file_in_a_model_folder_is_not_deleted(tmp_path: Path) -> None:
    save(tmp_path / "model")
    (tmp_path / "model" / "predictions.csv").write_text("mine")
    with pytest.raises(OutputConflict, match=r"predictions\.csv"):
        save(tmp_path / "model")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputConflict):
        save(tmp_path / "file")


@pytest.mark.parametrize("moment", ["save_file", "card", "replace_folder"])
def test_a_failure_while_writing_leaves_the_old_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    old = save(tmp_path / "model")

    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, moment, fail)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path / "model", kind="ctvit")
    assert open_model(tmp_path / "model", verify=True) == old
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model"]


def test_damage_is_noticed(tmp_path: Path) -> None:
    save(tmp_path / "m")
    file = tmp_path / "m" / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    with pytest.raises(ModelFolderInvalid, match="bytes"):
        open_model(tmp_path / "m")
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ModelFolderInvalid, match="hash"):
        open_model(tmp_path / "m", verify=True)
    file.write_bytes(b"\xff" * 8 + whole[8:])
    with pytest.raises(ModelFolderInvalid, match="damaged"):
        load_state_dict(open_model(tmp_path / "m"))


def _edit(folder: Path, **changes: object) -> None:
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | changes))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format": "thoracle.model/1"}, "thoracle.model/1.*`thoracle import FILE --out DIR`"),
        ({"kind": "resnet"}, "resnet"),
        ({"config": {"ctvit": {"dim": "64"}}}, r"ctvit\.dim must be a whole number"),
        ({"config": None}, "does not describe"),
        ({"preprocess": {"size": 5}}, "does not describe"),
        ({"preprocess": {"spacings": [1, 1, 1]}}, "spacings"),
        ({"labels": None}, "does not describe"),
        ({"labels": "Emphysema"}, "labels 'Emphysema', where a list of texts"),
        ({"trained": "false"}, "trained"),
        ({"licence": None}, "licence None"),
        ({"citations": "Somebody et al., 2026"}, "citations 'Somebody et al., 2026', where a list of texts"),
        ({"citations": [{"doi": "10.1/2"}]}, "citations"),
    ],
)
def test_an_edited_config_is_named(tmp_path: Path, changes: dict[str, object], says: str) -> None:
    save(tmp_path / "m")
    _edit(tmp_path / "m", **changes)
    with pytest.raises(ModelFolderInvalid, match=says):
        open_model(tmp_path / "m")


def test_a_config_of_other_sizes_does_not_load(tmp_path: Path) -> None:
    save(tmp_path / "m")
    _edit(tmp_path / "m", config=config_to_mapping(CTCLIPConfig()))
    with pytest.raises(ModelFolderInvalid, match="do not agree"):
        load_state_dict(open_model(tmp_path / "m"))


@pytest.mark.parametrize("content", ["", "[]", "{", "[" * 100_000, '{"format": "thoracle.model/2"}'])
def test_any_config_json_ends_in_a_typed_error(tmp_path: Path, content: str) -> None:
    save(tmp_path / "m")
    (tmp_path / "m" / "config.json").write_text(content)
    with pytest.raises(ModelFolderInvalid):
        open_model(tmp_path / "m")


def test_no_folder(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(ModelFolderInvalid, match="thoracle import"):
            open_model(path)


def test_a_missing_tokenizer_says_what_to_fetch(tmp_path: Path) -> None:
    with pytest.raises(
        TokenizerMissing, match=r"vocab\.txt.*BiomedVLP-CXR-BERT-specialized.*thoracle fetch cxr-bert.*thoracle import.*--tokenizer"
    ):
        save(tmp_path / "m").tokenizer()
    with pytest.raises(TokenizerMissing, match=r"merges\.txt.*RadBERT.*thoracle fetch radbert"):
        save(tmp_path / "t", kind="text-classifier").tokenizer()


def test_another_tokenizer_is_not_taken_for_the_models_own(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_words(["lung nodule"])
    folder = save(tmp_path / "m", tokenizer=tokenizer)
    assert folder.tokenizer().fingerprint == tokenizer.fingerprint == folder.tokenizer_sha256
    (tmp_path / "m" / "tokenizer" / "vocab.txt").write_bytes(Tokenizer.from_words(["other"]).files["vocab.txt"])
    with pytest.raises(TokenizerMissing, match="not the one"):
        folder.tokenizer()


def test_weights_that_are_not_touched_take_no_memory(tmp_path: Path) -> None:
    config = ProjectorConfig(num_queries=4, dim=16, dim_context=16, attention_dim=16, heads=4, hidden_size=4096)
    tensors = {name: torch.zeros(shape) for name, shape in REGISTRY["chat-projector"].weight_shapes(config).items()}
    folder = save_model(
        tmp_path / "m",
        kind="chat-projector", config=config, preprocess=None, labels=(), tensors=tensors, tokenizer=None, licence="x", trained=False,
    )  # fmt: skip
    del tensors
    before = _resident()
    loaded = load_state_dict(folder)
    assert loaded["proj.2.weight"].nbytes == 64 * 2**20
    assert _resident() - before < 16 * 2**20


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
