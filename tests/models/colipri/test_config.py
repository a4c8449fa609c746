"""COLIPRI's sizes."""

from __future__ import annotations

from typing import Any

import pytest

from thoracle.errors import InputError
from thoracle.models.colipri.config import ColipriConfig


def test_published_sizes() -> None:
    config = ColipriConfig()
    assert config.grid == (24, 24, 24)
    assert config.mlp_dim == 2304


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"patch_size": (8, 8, 7)}, r"patch_size \(8, 8, 7\) does not divide"),
        ({"embed_dim": 870}, "not a multiple of 6 times heads 12"),
        ({"pooler_heads": 7}, "pooler_heads 7 does not divide bert.hidden_size 768"),
        ({"text_pooling": "mean"}, "text_pooling"),
    ],
)
def test_contradictions_are_refused(sizes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ColipriConfig(**sizes)
