from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from thoracle.errors import CheckpointIncomplete, InputError
from thoracle.models.text.config import TextConfig
from thoracle.models.text.encoder import BertEncoder
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.training.labeler.initialization import initialize_text
from thoracle.training.labeler.task import LabelerConfig

SIZES = TextConfig(vocab_size=80, hidden_size=64, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64)


@pytest.fixture
def hub_folder(tmp_path: Path) -> Path:
    """A BERT as the hub has it: config, weights under `bert.` without a pooler, a head that is not ours, words."""
    torch.manual_seed(0)
    weights = {f"bert.{name}": tensor for name, tensor in BertEncoder(SIZES).state_dict().items() if not name.startswith("pooler.")}
    save_file({**weights, "cls.predictions.bias": torch.zeros(80)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({**asdict(SIZES), "model_type": "bert"}))
    (tmp_path / "vocab.txt").write_bytes(Tokenizer.from_words(["nodule"]).files["vocab.txt"])
    return tmp_path


def test_a_pretrained_encoder_is_gone_on_from(hub_folder: Path) -> None:
    start = initialize_text(LabelerConfig(init_from=str(hub_folder)), lambda: [])
    assert start.sizes.num_hidden_layers == 1
    torch.manual_seed(0)
    expected = BertEncoder(SIZES).state_dict()
    got = start.network().model.state_dict()
    for name in expected:
        if not name.startswith("pooler."):
            torch.testing.assert_close(got[name], expected[name])


def test_a_folder_that_is_no_encoder_is_refused(hub_folder: Path, tmp_path: Path) -> None:
    save_file({"bert.embeddings.word_embeddings.weight": torch.zeros(80, 64)}, hub_folder / "model.safetensors")
    with pytest.raises((CheckpointIncomplete, InputError)):
        initialize_text(LabelerConfig(init_from=str(hub_folder)), lambda: [])
    with pytest.raises(InputError, match=r"config\.json"):
        initialize_text(LabelerConfig(init_from=str(tmp_path / "nowhere")), lambda: [])


def test_more_words_than_the_network_has_are_refused() -> None:
    with pytest.raises(InputError, match="vocab_size"):
        initialize_text(LabelerConfig(model=SIZES), lambda: [f"word{n}" for n in range(200)])
