"""One text encoder comes back alike from every layout that it is published in, for labelers and for contrastive runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from thoracle.errors import CheckpointIncomplete, InputError
from thoracle.models.bundle.model_folder import save_model
from thoracle.models.bundle.pretrained_text import initialize_text, load_pretrained_text, load_tokenizer
from thoracle.models.text.classifier import TextClassifier
from thoracle.models.text.config import TextConfig
from thoracle.models.text.encoder import BertEncoder
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.types import ABNORMALITIES

SIZES = TextConfig(vocab_size=80, hidden_size=64, num_hidden_layers=1, num_attention_heads=1, intermediate_size=64)
WORDS = Tokenizer.from_words(["A nodule is seen."])


def state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return BertEncoder(SIZES).state_dict()


def hub(folder: Path, tensors: Mapping[str, Tensor], **described: object) -> Path:
    folder.mkdir()
    save_file(dict(tensors), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({**asdict(SIZES), "model_type": "bert", **described}))
    (folder / "vocab.txt").write_bytes(WORDS.files["vocab.txt"])
    return folder


def prefixed(prefix: str) -> Callable[[Path], Path]:
    """As the hub has it: no pooler, a head that is not ours."""

    def make(folder: Path) -> Path:
        tensors = {f"{prefix}{name}": tensor for name, tensor in state().items() if not name.startswith("pooler.")}
        return hub(folder, {**tensors, "cls.bias": torch.zeros(80)})

    return make


def open_clip(folder: Path) -> Path:
    folder.mkdir()
    tensors = {f"text.transformer.{name}": tensor for name, tensor in state().items()}
    torch.save({**tensors, "visual.trunk.cls_token": torch.zeros(1)}, folder / "open_clip_pytorch_model.bin")
    (folder / "vocab.txt").write_bytes(WORDS.files["vocab.txt"])
    return folder


def report_classifier(folder: Path) -> Path:
    classifier = TextClassifier(SIZES, n_labels=len(ABNORMALITIES))
    classifier.model.load_state_dict(state())
    save_model(
        folder, kind="text-classifier", config=SIZES, preprocess=None, labels=ABNORMALITIES, tensors=classifier.state_dict(),
        tokenizer=WORDS, licence="none", trained=True, caution="of phantoms",
    )  # fmt: skip
    return folder


FOLDERS = {
    "bert": prefixed("bert."),
    "roberta's prefix": prefixed("roberta."),
    "no prefix": prefixed(""),
    "open_clip": open_clip,
    "classifier": report_classifier,
}


@pytest.mark.parametrize("layout", FOLDERS)
def test_every_folder_gives_sizes_words_and_weights(layout: str, tmp_path: Path) -> None:
    folder = FOLDERS[layout](tmp_path / "text")
    pretrained = load_pretrained_text(folder)
    sizes, tokenizer = pretrained.described()
    assert sizes == SIZES  # positions among them: a BERT counts from 0
    tokenizer_alone = load_tokenizer(folder)
    assert tokenizer_alone is not None
    assert tokenizer.fingerprint == tokenizer_alone.fingerprint == WORDS.fingerprint
    torch.manual_seed(1)
    encoder = BertEncoder(SIZES)
    initialize_text(encoder, pretrained, config=SIZES)
    expected = state()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in encoder.state_dict().items() if not name.startswith("pooler."))


def test_a_report_classifier_keeps_its_head_and_what_it_was_trained_on(tmp_path: Path) -> None:
    pretrained = load_pretrained_text(report_classifier(tmp_path / "text"))
    assert set(pretrained.head) == {"classifier.weight", "classifier.bias"}
    assert pretrained.caution == "of phantoms"


def test_a_file_alone_has_weights_and_neither_sizes_nor_words(tmp_path: Path) -> None:
    file = prefixed("bert.")(tmp_path / "text") / "model.safetensors"
    pretrained = load_pretrained_text(file)
    initialize_text(BertEncoder(SIZES), pretrained, config=SIZES)
    assert load_tokenizer(file) is None
    with pytest.raises(InputError, match="weights alone"):
        pretrained.described()


def test_a_roberta_counts_positions_in_its_own_way(tmp_path: Path) -> None:
    tensors = {f"roberta.{name}": tensor for name, tensor in state().items()}
    pretrained = load_pretrained_text(hub(tmp_path / "text", tensors, model_type="roberta", pad_token_id=1))
    assert pretrained.described()[0] == replace(SIZES, position_scheme="roberta", pad_token_id=1)
    with pytest.raises(InputError, match="positions"):
        initialize_text(BertEncoder(SIZES), pretrained, config=SIZES)


def test_weights_of_other_sizes_are_refused(tmp_path: Path) -> None:
    pretrained = load_pretrained_text(prefixed("bert.")(tmp_path / "text") / "model.safetensors")
    wider = replace(SIZES, intermediate_size=128)
    with pytest.raises(CheckpointIncomplete, match="lacks"):
        initialize_text(BertEncoder(wider), pretrained, config=wider)


def test_a_folder_that_holds_no_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json"):
        load_pretrained_text(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="neither"):
        load_pretrained_text(tmp_path)
