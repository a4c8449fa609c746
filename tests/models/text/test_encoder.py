"""The text encoder against Hugging Face's, whose keys it has, and on random weights."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
import torch
import transformers
from torch import Tensor

from thoracle.models.text.config import TextConfig
from thoracle.models.text.encoder import BertEncoder

SIZES = {
    "vocab_size": 61,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": 30,
}


#: Tokens that one sees on both sides together; of 17.
WINDOW = 6


@pytest.fixture(params=["bert", "roberta", "longformer"])
def pair(request: pytest.FixtureRequest) -> tuple[BertEncoder, transformers.PreTrainedModel]:
    """Ours and theirs, with the same weights; every bias and norm random too."""
    torch.manual_seed(3)
    if request.param == "bert":
        extra = {"pad_token_id": 0, "type_vocab_size": 2, "layer_norm_eps": 1e-12}
        theirs = transformers.BertModel(transformers.BertConfig(**SIZES, **extra))
    else:
        extra = {"pad_token_id": 4, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
        if request.param == "roberta":
            theirs = transformers.RobertaModel(transformers.RobertaConfig(**SIZES, **extra))
        else:
            theirs = transformers.LongformerModel(transformers.LongformerConfig(**SIZES, **extra, attention_window=[WINDOW] * 3))
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.3)
    is_long = request.param == "longformer"
    scheme = "roberta" if is_long else request.param
    ours = BertEncoder(TextConfig(**SIZES, **extra, position_scheme=scheme, attention_window=WINDOW if is_long else None))
    ours.load_state_dict({name: tensor for name, tensor in theirs.state_dict().items() if "_global." not in name})
    return ours.eval(), theirs.eval()


def _texts(padding: int) -> tuple[Tensor, Tensor]:
    """Rows of unlike lengths, one of them whole."""
    mask = (torch.arange(17) < torch.tensor([[17], [5], [1], [12]])).long()
    ids = torch.randint(5, 61, mask.shape, generator=torch.Generator().manual_seed(0))
    return torch.where(mask == 1, ids, padding), mask


def test_equals_hugging_face(pair, error: Callable) -> None:
    ours, theirs = pair
    ids, mask = _texts(theirs.config.pad_token_id)
    with torch.no_grad():
        got, expected = ours(ids, mask), theirs(input_ids=ids, attention_mask=mask)
    assert error(got.hidden_BND[mask == 1], expected.last_hidden_state[mask == 1]) < 1e-6
    assert error(got.pooled_BD, expected.pooler_output) < 1e-6


def test_padding_changes_nothing(pair, error: Callable) -> None:
    ours, theirs = pair
    ids, mask = _texts(theirs.config.pad_token_id)
    with torch.no_grad():
        padded, trimmed = ours(ids[1:2], mask[1:2]), ours(ids[1:2, :5], mask[1:2, :5])
    assert error(padded.hidden_BND[:, :5], trimmed.hidden_BND) < 1e-6


def test_dropout_in_training_only(pair) -> None:
    ours, theirs = pair
    ids, mask = _texts(theirs.config.pad_token_id)
    with torch.no_grad():
        assert torch.equal(ours(ids, mask).hidden_BND, ours(ids, mask).hidden_BND)
        assert not torch.equal(ours.train()(ids, mask).hidden_BND, ours(ids, mask).hidden_BND)


def test_attention_drops_out_as_configured() -> None:
    config = TextConfig(**SIZES, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.5)
    ours, (ids, mask) = BertEncoder(config).train(), _texts(0)
    with torch.no_grad():
        assert not torch.equal(ours(ids, mask).hidden_BND, ours(ids, mask).hidden_BND)


def test_without_dropout_training_is_evaluation() -> None:
    ours, (ids, mask) = BertEncoder(TextConfig(**SIZES, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)), _texts(0)
    with torch.no_grad():
        assert torch.equal(ours.train()(ids, mask).hidden_BND, ours.eval()(ids, mask).hidden_BND)


def test_a_row_of_nothing_but_padding_is_finite(pair) -> None:
    ours, _ = pair
    ids, mask = _texts(0)
    assert ours(ids, torch.zeros_like(mask)).hidden_BND.isfinite().all()


def test_the_naive_rendering_agrees(naive: ModuleType, error: Callable) -> None:
    config, (ids, mask) = TextConfig(**SIZES), _texts(0)
    ours = BertEncoder(config).eval()
    with torch.no_grad():
        expected = naive.encode_text(ours.state_dict(), config, ids, mask)
        assert error(ours(ids, mask).hidden_BND[mask == 1], expected[mask == 1]) < 1e-6
