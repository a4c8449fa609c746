"""A text encoder's sizes: the defaults of `transformers.BertConfig`, how long a text may be, and what contradicts."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
import transformers
from hypothesis import given
from hypothesis import strategies as st

from thoracle.config_reader import config_from_mapping, config_to_mapping
from thoracle.errors import InputError
from thoracle.models.text.config import TextConfig

OURS = {"attention_window", "cls_source", "position_scheme"}


def test_names_and_defaults_are_those_of_transformers() -> None:
    theirs = transformers.BertConfig()
    names = {field.name for field in fields(TextConfig)} - OURS
    assert {name: getattr(TextConfig(), name) for name in names} == {name: getattr(theirs, name) for name in names}


@pytest.mark.parametrize(
    ("config", "tokens"),
    [
        (TextConfig(), 512),
        (TextConfig(pad_token_id=3), 512),
        (TextConfig(max_position_embeddings=514, pad_token_id=1, position_scheme="roberta"), 512),  # as RoBERTa was published
        (TextConfig(max_position_embeddings=30, pad_token_id=4, position_scheme="roberta"), 25),
    ],
)
def test_roberta_counts_positions_from_behind_paddings(config: TextConfig, tokens: int) -> None:
    assert config.max_tokens == tokens


@given(heads=st.integers(1, 12), width=st.integers(1, 48))
def test_heads_divide_the_width(heads: int, width: int) -> None:
    if width % heads == 0:
        config = TextConfig(hidden_size=width, num_attention_heads=heads, position_scheme="roberta", cls_source="hidden")
        assert config_from_mapping(TextConfig, config_to_mapping(config)) == config
    else:
        with pytest.raises(InputError, match=f"hidden_size {width} is not a multiple of num_attention_heads {heads}"):
            TextConfig(hidden_size=width, num_attention_heads=heads)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"position_scheme": "alibi"}, "position_scheme must be bert or roberta, is 'alibi'"),
        ({"cls_source": "mean"}, "cls_source must be pooled or hidden, is 'mean'"),
        ({"hidden_dropout_prob": 1.1}, "hidden_dropout_prob must be a number at least 0 and at most 1, is 1.1"),
        ({"layer_norm_eps": 0}, "layer_norm_eps must be a number above 0, is 0"),
        ({"pad_token_id": -1}, "pad_token_id must be a whole number at least 0, is -1"),
        ({"hiden_size": 64}, r"unknown hiden_size.*Did you mean hidden_size\?"),
    ],
)
def test_values_that_make_no_sense_are_refused_by_name(values: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        config_from_mapping(TextConfig, values, source="bert")
