"""Sizes of the Merlin family."""

from __future__ import annotations

import pytest

from thoracle.errors import InputError
from thoracle.models.merlin.config import MerlinConfig


def test_published_width() -> None:
    assert MerlinConfig().dim == 2048


def test_labels_that_are_alike_are_refused() -> None:
    with pytest.raises(InputError, match="labels must differ"):
        MerlinConfig(labels=("Hernia", "Hernia"))
