"""Configurations that hold their encoder's: read by its kind, refused by name."""

from __future__ import annotations

import pytest

from thoracle.errors import InputError
from thoracle.models.common.wrapped_config import wrapped_config
from thoracle.models.regions.config import RegionsConfig

READERS = {"a": dict, "b": list}
TOKENS = {"grid": [2, 2, 2], "dim": 4, "components": 2, "frame": [2, 2, 2], "sigma": 0.4}
VALUES = {"labels": ["Emphysema"], "margin": 0.1, "before_attention": True, "tokens": TOKENS, "cells": None}


def test_the_encoder_is_read_as_its_kind_says() -> None:
    assert wrapped_config(RegionsConfig, READERS, {**VALUES, "encoder_kind": "a", "encoder": {"x": 1}}).encoder == {"x": 1}
    assert wrapped_config(RegionsConfig, READERS, {**VALUES, "encoder_kind": "b", "encoder": {"x": 1}}).encoder == ["x"]


def test_another_kind_and_a_key_that_is_none_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="encoder_kind is 'c', which is none of a, b"):
        wrapped_config(RegionsConfig, READERS, {**VALUES, "encoder_kind": "c", "encoder": {}})
    with pytest.raises(InputError, match="encoder_kind is 'None'"):
        wrapped_config(RegionsConfig, READERS, VALUES)
    with pytest.raises(InputError, match="marginn"):
        wrapped_config(RegionsConfig, READERS, {**VALUES, "marginn": 1, "encoder_kind": "a", "encoder": {}})
