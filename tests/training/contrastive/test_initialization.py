"""What a contrastive run begins with, where a text encoder was trained before it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from thoracle.errors import CheckpointIncomplete
from thoracle.models.bundle.model_folder import save_model
from thoracle.models.bundle.pretrained_text import load_pretrained_text
from thoracle.models.text.classifier import TextClassifier
from thoracle.models.text.config import TextConfig
from thoracle.models.text.encoder import BertEncoder
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.training.contrastive.ctclip import ContrastiveConfig
from thoracle.training.contrastive.initialization import build_ctclip, read_text_encoder, select_tokenizer, text_sizes
from thoracle.training.engine.config import builtin_config, load_config
from thoracle.types import ABNORMALITIES

WORDS = Tokenizer.from_words(["A nodule is seen."])


@pytest.fixture
def config() -> ContrastiveConfig:
    return replace(load_config(builtin_config("phantom-tiny"), ContrastiveConfig), init_text_encoder="")


def _classifier(folder: Path, sizes: TextConfig) -> TextClassifier:
    torch.manual_seed(1)
    classifier = TextClassifier(sizes, n_labels=len(ABNORMALITIES))
    save_model(
        folder, kind="text-classifier", config=sizes, preprocess=None, labels=ABNORMALITIES, tensors=classifier.state_dict(),
        tokenizer=WORDS, licence="none", trained=True,
    )  # fmt: skip
    return classifier


def test_a_report_classifier_gives_its_encoder_and_its_words(config: ContrastiveConfig, tmp_path: Path) -> None:
    read = _classifier(tmp_path / "read", config.model.bert).model.state_dict()
    config = replace(config, init_text_encoder=str(tmp_path / "read"))
    tokenizer = select_tokenizer(config, read_text_encoder(config), lambda: pytest.fail("the classifier has words of its own"))
    assert tokenizer.fingerprint == WORDS.fingerprint
    begun = build_ctclip(config, tokenizer, read_text_encoder(config)).text_transformer.state_dict()
    assert all(torch.equal(begun[name], tensor) for name, tensor in read.items())


def test_a_bert_gives_its_encoder_under_the_names_of_its_own_files(config: ContrastiveConfig, tmp_path: Path) -> None:
    bert = BertEncoder(config.model.bert).state_dict()
    save_file({f"bert.{name}": tensor for name, tensor in bert.items()}, tmp_path / "model.safetensors")
    config = replace(config, init_text_encoder=str(tmp_path / "model.safetensors"))
    begun = build_ctclip(config, WORDS, read_text_encoder(config)).text_transformer.state_dict()
    assert all(torch.equal(begun[name], tensor) for name, tensor in bert.items())


def test_an_encoder_of_other_sizes_is_refused(config: ContrastiveConfig, tmp_path: Path) -> None:
    _classifier(tmp_path / "read", replace(config.model.bert, hidden_size=32, num_hidden_layers=1))
    with pytest.raises(CheckpointIncomplete, match="lacks"):
        build_ctclip(config, WORDS, load_pretrained_text(tmp_path / "read"))


def test_a_folder_of_the_hub_gives_its_encoder_and_its_words(config: ContrastiveConfig, tmp_path: Path) -> None:
    bert = BertEncoder(config.model.bert).state_dict()
    save_file({f"bert.{name}": tensor for name, tensor in bert.items() if "pooler" not in name}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({**asdict(config.model.bert), "model_type": "bert"}))
    (tmp_path / "vocab.txt").write_bytes(WORDS.files["vocab.txt"])
    config = replace(config, init_text_encoder=str(tmp_path))
    tokenizer = select_tokenizer(config, read_text_encoder(config), lambda: pytest.fail("the folder has words of its own"))
    assert tokenizer.fingerprint == WORDS.fingerprint
    begun = build_ctclip(config, tokenizer, read_text_encoder(config)).text_transformer.state_dict()
    assert all(torch.equal(begun[name], tensor) for name, tensor in bert.items() if "pooler" not in name)


def test_sizes_and_dropout_are_the_folders_own_and_a_file_alone_has_none(config: ContrastiveConfig, tmp_path: Path) -> None:
    own = replace(config.model.bert, hidden_size=64, num_hidden_layers=1, hidden_dropout_prob=0.25, cls_source="hidden")
    _classifier(tmp_path / "read", own)
    expected = replace(own, cls_source="pooled")  # which state a report classifier reads is not CT-CLIP's matter
    assert text_sizes(config.model.bert, load_pretrained_text(tmp_path / "read")) == expected
    assert text_sizes(config.model.bert, load_pretrained_text(tmp_path / "read" / "model.safetensors")) == config.model.bert
    assert text_sizes(config.model.bert, None) == config.model.bert


def test_a_model_to_go_on_from_has_a_text_encoder_already(config: ContrastiveConfig) -> None:
    assert read_text_encoder(replace(config, init_from="model", init_text_encoder="not read")) is None
