"""Sizes of SPECTRE: those of the package, by name."""

from __future__ import annotations

import pytest

from thoracle.errors import InputError
from thoracle.models.spectre.config import WIDTHS, SpectreConfig


def test_the_published_size_is_the_default() -> None:
    assert WIDTHS[SpectreConfig().size] == 1080


def test_other_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="size must be small or base or large, is 'huge'"):
        SpectreConfig(size="huge")
