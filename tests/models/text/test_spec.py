"""A BERT's sizes from its tensors: what they say, what is assumed aloud, and what is not built."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertConfig, RobertaConfig

from thoracle.errors import CheckpointIncomplete, InputError
from thoracle.models.text.config import TextConfig
from thoracle.models.text.spec import IGNORED, TEXT_CLASSIFIER, checked_bert_settings, infer_text
from thoracle.types import ABNORMALITIES


def _shapes(
    prefix: str = "", *, vocab: int = 90, width: int = 128, depth: int = 3, mlp: int = 40, positions: int = 30, kinds: int = 1
) -> dict:
    """Names and shapes as in `transformers.BertModel`."""
    shapes = {
        "embeddings.word_embeddings.weight": (vocab, width),
        "embeddings.position_embeddings.weight": (positions, width),
        "embeddings.token_type_embeddings.weight": (kinds, width),
    }
    shapes |= {f"encoder.layer.{layer}.intermediate.dense.weight": (mlp, width) for layer in range(depth)}
    return {f"{prefix}{name}": shape for name, shape in shapes.items()}


def test_sizes_follow_from_shapes_and_the_rest_is_assumed_aloud() -> None:
    notes: list[str] = []
    values = infer_text(_shapes("text."), "text.", {}, notes, positions="bert")
    assert values == {
        "vocab_size": 90,
        "hidden_size": 128,
        "num_hidden_layers": 3,
        "intermediate_size": 40,
        "max_position_embeddings": 30,
        "type_vocab_size": 1,
        "num_attention_heads": 2,  # of width 64, as in every published BERT
        "layer_norm_eps": 1e-12,
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "pad_token_id": 0,
        "position_scheme": "bert",
    }
    assert {note.split(" is ")[0].removeprefix("bert.") for note in notes} == {
        "num_attention_heads", "layer_norm_eps", "hidden_dropout_prob", "attention_probs_dropout_prob", "pad_token_id",
    }  # fmt: skip


@given(
    sizes=st.fixed_dictionaries({name: st.integers(1, 30) for name in ("vocab", "depth", "mlp", "positions", "kinds")}),
    heads=st.integers(1, 4),
)
def test_whatever_sizes_a_text_encoder_has_are_read_off_it(sizes: dict[str, int], heads: int) -> None:
    values = infer_text(_shapes(width=64 * heads, **sizes), "", {}, [], positions="bert")
    assert TextConfig(**values) == TextConfig(
        vocab_size=sizes["vocab"],
        hidden_size=64 * heads,
        num_hidden_layers=sizes["depth"],
        num_attention_heads=heads,
        intermediate_size=sizes["mlp"],
        max_position_embeddings=sizes["positions"],
        type_vocab_size=sizes["kinds"],
    )


def test_what_the_user_says_is_taken_and_not_noted() -> None:
    notes: list[str] = []
    settings = {"num_attention_heads": 4, "pad_token_id": 7, "vocab_size": 90}
    values = infer_text(_shapes(), "", settings, notes, positions="roberta")
    assert (values["num_attention_heads"], values["pad_token_id"], values["position_scheme"]) == (4, 7, "roberta")
    assert not any("num_attention_heads" in note or "pad_token_id" in note for note in notes)
    assert infer_text(_shapes(), "", {}, [], positions="roberta")["pad_token_id"] == 1, "as RoBERTa was published"


def test_heads_that_follow_from_nothing_and_contradictions_are_refused() -> None:
    with pytest.raises(CheckpointIncomplete, match=r"width 100 is not a multiple of 64.*bert\.num_attention_heads in --config"):
        infer_text(_shapes(width=100), "", {}, [], positions="bert")
    assert infer_text(_shapes(width=100), "", {"num_attention_heads": 5}, [], positions="bert")["num_attention_heads"] == 5
    with pytest.raises(InputError, match=r"bert\.vocab_size is 91, the tensors say 90"):
        infer_text(_shapes(), "", {"vocab_size": 91}, [], positions="bert")
    shapes = _shapes()
    del shapes["embeddings.position_embeddings.weight"]
    with pytest.raises(CheckpointIncomplete, match=r"missing embeddings\.position_embeddings\.weight"):
        infer_text(shapes, "", {}, [], positions="bert")


@pytest.mark.parametrize("theirs", [BertConfig, RobertaConfig])
def test_of_the_configuration_of_transformers_what_counts_here_is_left(theirs: type[Any]) -> None:
    checked = checked_bert_settings(theirs(vocab_size=90).to_dict())
    assert checked["vocab_size"] == 90
    assert not checked.keys() & IGNORED
    TextConfig(**checked)


@pytest.mark.parametrize(
    ("name", "value", "only"),
    [("hidden_act", "relu", "gelu"), ("position_embedding_type", "relative_key", "absolute"), ("is_decoder", True, False)],
)
def test_a_network_that_is_not_built_is_refused(name: str, value: object, only: object) -> None:
    assert checked_bert_settings({name: only, "vocab_size": 3}) == {"vocab_size": 3}
    with pytest.raises(InputError) as error:
        checked_bert_settings({name: value})
    assert f"bert.{name} is {value!r}, only {only!r} is built" in error.value.detail
    with pytest.raises(InputError, match="bert is 5, not a mapping"):
        checked_bert_settings(5)


def test_the_report_classifier_has_a_logit_for_each_abnormality() -> None:
    config = TextConfig(
        vocab_size=90, hidden_size=64, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16, type_vocab_size=1,
        max_position_embeddings=30, pad_token_id=1, position_scheme="roberta",
    )  # fmt: skip
    torch.manual_seed(0)
    module = TEXT_CLASSIFIER.build(config).eval()
    ids = torch.tensor([[0, 5, 6, 2]])
    assert module(ids, torch.ones_like(ids)).shape == (1, len(ABNORMALITIES))
    assert TEXT_CLASSIFIER.labels(config) == ABNORMALITIES
    assert TEXT_CLASSIFIER.text_rules is not None
    assert TEXT_CLASSIFIER.text_rules.vocab_size(config) == 90
    assert TEXT_CLASSIFIER.capabilities(config) == frozenset()
    assert TEXT_CLASSIFIER.infer_config is not None
    guess = TEXT_CLASSIFIER.infer_config({name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}, {})
    assert (guess.config, guess.preprocess) == (config, None)
    assert TEXT_CLASSIFIER.key_pattern is not None
    assert all(TEXT_CLASSIFIER.key_pattern.match(name) or name.startswith(("classifier.", "model.pooler.")) for name in module.state_dict())
