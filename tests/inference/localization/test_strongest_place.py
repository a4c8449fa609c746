"""Side and lobe by hand: places in a box of lungs that does not fill the input."""

from __future__ import annotations

import numpy as np
import pytest

from thoracle.ct.chest.input_box import InputBox
from thoracle.inference.localization.strongest_place import LOBAR, strongest_place
from thoracle.types import ABNORMALITIES

BOX = InputBox(low=(0.2, 0.1, 0.2), high=(0.8, 0.7, 0.8), encloses="lungs", cut=())  # its middle is right of the input's


@pytest.mark.parametrize(
    ("height", "left", "back", "side", "lobe"),
    [
        (0.9, 0.2, 0.2, "right", "right upper lobe"),
        (0.3, 0.2, 0.2, "right", "right middle lobe"),  # above the oblique fissure, which lies at 0.17 there
        (0.1, 0.2, 0.2, "right", "right lower lobe"),
        (0.7, 0.2, 0.9, "right", "right lower lobe"),  # at the back it reaches 0.77
        (0.3, 0.8, 0.2, "left", "left upper lobe"),  # the lingula
        (0.7, 0.8, 0.9, "left", "left lower lobe"),
        (0.9, 0.8, 0.9, "left", "left upper lobe"),
        (0.9, 0.6, 0.2, "left", "left upper lobe"),  # 0.46 of the input: left of the lungs' middle alone
    ],
)
def test_places_by_hand(height: float, left: float, back: float, side: str, lobe: str) -> None:
    grid = (40, 40, 40)
    heat = np.zeros(grid)
    fractions = [low + f * (high - low) for f, low, high in zip((height, left, back), BOX.low, BOX.high, strict=True)]
    heat[tuple(int(f * n) for f, n in zip(fractions, grid, strict=True))] = 1.0
    place = strongest_place(heat, BOX)
    assert place is not None
    assert (place.side, place.lobe) == (side, lobe)


def test_a_box_that_moves_with_the_map_says_the_same() -> None:
    heat = np.zeros((20, 20, 20))
    heat[7, 9, 12] = 1.0
    moved = InputBox(low=(0.3, 0.05, 0.25), high=(0.9, 0.65, 0.85), encloses="lungs", cut=())
    assert strongest_place(np.roll(heat, (2, -1, 1), axis=(0, 1, 2)), moved) == strongest_place(heat, BOX)


def test_nothing_is_named_without_lungs_or_evidence() -> None:
    heat = np.ones((2, 2, 2))
    assert strongest_place(heat, None) is None
    assert strongest_place(heat, InputBox(low=(0, 0, 0), high=(1, 1, 1), encloses="body", cut=())) is None
    assert strongest_place(-heat, BOX) is None
    assert strongest_place(0 * heat, BOX) is None


def test_findings_of_lobes_are_findings() -> None:
    assert set(ABNORMALITIES) > LOBAR
