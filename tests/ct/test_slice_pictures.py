"""Slices as pictures: pixels that are square, windows, and a PNG that gives them back."""

from __future__ import annotations

import numpy as np

from tests.ct.pictures import decode_png
from thoracle.ct.slice_pictures import fit_slice, grey_levels, png


def test_a_png_gives_back_its_pixels() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (7, 5), dtype=np.uint8)
    assert np.array_equal(decode_png(png(grey)), grey)


def test_pixels_become_square_and_what_is_left_is_air() -> None:
    image = np.full((4, 8), 50.0, np.float32)
    image[0, 0] = -1000.0
    square = fit_slice(image, (1.0, 1.0), side=16)
    assert square.shape == (16, 16)
    assert (square[4:12] == 50).sum() == 8 * 16 - 4, "two pixels a voxel"
    assert (square[:4] == -1000).all()
    assert (fit_slice(np.full((4, 8), 1.0, np.float32), (2.0, 1.0), side=16) == 1).all(), "as high as it is wide"


def test_the_ends_of_a_window_are_black_and_white() -> None:
    hu = np.array([[-2000, -1350, -600, 150, 3000]], np.float32)
    assert grey_levels(hu, (-1350.0, 150.0)).tolist() == [[0, 0, 127, 255, 255]]
