"""Figures that cannot be said are null, at any depth."""

from __future__ import annotations

import math

from thoracle.evaluation.html.plain_json import plain_json


def test_what_is_no_number_becomes_null_and_the_rest_stays() -> None:
    values = {"a": (1, math.nan), "b": {"c": [math.inf, -math.inf, 0.5]}, "d": "NaN"}
    assert plain_json(values) == {"a": [1, None], "b": {"c": [None, None, 0.5]}, "d": "NaN"}
