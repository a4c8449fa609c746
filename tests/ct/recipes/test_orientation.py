"""Namings of axes: which letters are one, and views of one naming under another."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from thoracle.ct.recipes.orientation import ZXY, check_axes, is_flipped, reorder, scan_axes, view_as
from thoracle.errors import InputError

ALL = ["".join(letters) for order in itertools.permutations(("LR", "PA", "SI")) for letters in itertools.product(*order)]


def test_there_are_48_namings() -> None:
    assert len(set(ALL)) == 48
    for axes in ALL:
        check_axes(axes)


@pytest.mark.parametrize("axes", ["", "RA", "RAA", "RLS", "ras", "RASI", "XYZ", "R" * 4000])
def test_others_are_refused(axes: str) -> None:
    with pytest.raises(InputError, match="name no order") as caught:
        check_axes(axes)
    assert len(str(caught.value)) < 300


def test_letters_lie_along_axes_of_a_scan() -> None:
    assert scan_axes("LPS") == scan_axes("RAI") == (0, 1, 2)
    assert scan_axes("SLP") == (2, 0, 1)
    assert [is_flipped(letter) for letter in "LPSRAI"] == [False, False, False, True, True, True]


def test_an_index_goes_where_its_letter_says() -> None:
    """RAS to (z, x, y): the last becomes the first, right becomes left and anterior becomes posterior."""
    array = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    view = view_as(array, "RAS", ZXY)
    assert view.shape == reorder((2, 3, 4), "RAS", ZXY) == (4, 2, 3)
    assert view[0, 0, 0] == array[1, 2, 0]
    assert view[3, 1, 0] == array[0, 2, 3]
    assert np.shares_memory(view, array)


@pytest.mark.parametrize("axes", ALL)
def test_the_way_back_is_the_same_way(axes: str) -> None:
    array = np.arange(5 * 2 * 3 * 4).reshape(5, 2, 3, 4)
    view = view_as(array, axes, ZXY)
    np.testing.assert_array_equal(view_as(view, ZXY, axes), array)
    assert reorder(reorder((2, 3, 4), axes, ZXY), ZXY, axes) == (2, 3, 4)
