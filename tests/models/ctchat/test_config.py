"""CT-CHAT's projector in numbers: the published sizes, what follows from them, and what contradicts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thoracle.config_reader import config_from_mapping, config_to_mapping
from thoracle.errors import InputError
from thoracle.models.ctchat.config import ProjectorConfig


def test_the_published_sizes_are_the_defaults() -> None:
    config = ProjectorConfig()
    assert (config.num_queries, config.dim, config.dim_context, config.attention_dim, config.heads) == (256, 512, 512, 512, 8)
    assert (config.hidden_size, config.num_positions, config.num_findings, config.num_tokens) == (4096, 0, 0, 256)


def test_a_scan_is_a_token_for_each_query_and_each_finding() -> None:
    assert ProjectorConfig(num_queries=4, num_positions=216, num_findings=18).num_tokens == 22
    assert ProjectorConfig(num_queries=4, num_positions=216).num_tokens == 4


@given(heads=st.integers(1, 12), attention_dim=st.integers(1, 48))
def test_heads_divide_the_width_of_attention(heads: int, attention_dim: int) -> None:
    if attention_dim % heads == 0:
        config = ProjectorConfig(heads=heads, attention_dim=attention_dim, num_positions=2, num_findings=1)
        assert config_from_mapping(ProjectorConfig, config_to_mapping(config)) == config
    else:
        with pytest.raises(InputError, match=f"attention_dim {attention_dim} is not a multiple of heads {heads}"):
            ProjectorConfig(heads=heads, attention_dim=attention_dim)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"num_findings": 18}, r"num_findings needs num_positions.*Give num_positions: how many tokens a scan has"),
        ({"heads": 0}, "heads must be a whole number at least 1, is 0"),
        ({"num_positions": -1}, "num_positions must be a whole number at least 0, is -1"),
        ({"hidden_size": 4096.0}, "hidden_size must be a whole number at least 1"),
        ({"num_querys": 4}, r"unknown num_querys.*Did you mean num_queries\?"),
    ],
)
def test_sizes_that_make_no_sense_are_refused_by_name(values: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        config_from_mapping(ProjectorConfig, values, source="projector")
