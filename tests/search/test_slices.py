from __future__ import annotations

import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest

from thoracle.ct.preprocess import PreprocessConfig
from thoracle.ct.recipes.orientation import ZXY, view_as
from thoracle.ct.recipes.published import ASTRA_CHEST, MERLIN
from thoracle.search.slices import contact_strip, png


def _decode(image: bytes) -> np.ndarray:
    """By the words of the PNG specification, for an image of 8-bit grey."""
    assert image[:8] == b"\x89PNG\r\n\x1a\n"
    place, chunks = 8, {}
    while place < len(image):
        (length,) = struct.unpack(">I", image[place : place + 4])
        kind, content = image[place + 4 : place + 8], image[place + 8 : place + 8 + length]
        assert struct.unpack(">I", image[place + 8 + length : place + 12 + length])[0] == zlib.crc32(kind + content)
        chunks[kind], place = content, place + 12 + length
    columns, rows, depth, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert (depth, colour) == (8, 0)
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(rows, columns + 1)
    assert not lines[:, 0].any()
    return lines[:, 1:]


def test_a_png_gives_back_its_pixels() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (7, 5), dtype=np.uint8)
    assert np.array_equal(_decode(png(grey)), grey)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 1.0, 1.0), (1.5, 0.75, 0.75)])
def test_slices_hang_as_radiologists_hang_them(spacing: tuple[float, float, float]) -> None:
    volume = np.full((40, 60, 50), -1.0, np.float32)  # z, x, y: air, growing to superior, left, posterior
    volume[:, 50:, :] = 1.0  # bright on the patient's left
    volume[:, :, 45:] = 0.5  # and behind
    volume[36:] = 0.15  # and above, where no axial slice is taken
    strip = _decode(contact_strip(volume, PreprocessConfig(spacing=spacing)))
    assert strip.shape == (96, 4 * 96)
    axial, coronal = strip[:, :96], strip[:, 288:]
    lit = np.argwhere(axial > 250)
    assert lit[:, 1].max() > 48, "the patient's left is on the right"
    assert axial[lit[:, 0].min() + 10, 30] < 100
    assert lit[:, 0].max() - lit[:, 0].min() > 60
    rows = np.argwhere(coronal == coronal.max())[:, 0]
    assert rows.min() < 48, "above is on top"


def test_inputs_of_other_axes_and_units_hang_alike() -> None:
    """The same HU as CT-CLIP, Merlin and Astra are given them."""
    hu = np.full((40, 60, 50), -1000.0, np.float32)
    hu[:, 50:, 10:30] = 100.0
    hu[25:, :20] = -600.0
    cubes = PreprocessConfig(spacing=(1.0, 1.0, 1.0))
    expected = contact_strip(hu / 1000, cubes)
    for recipe in (ASTRA_CHEST, replace(MERLIN, resampling=replace(MERLIN.resampling, spacing=(1.0, 1.0, 1.0)))):
        volume = view_as((hu - np.float32(recipe.zero_hu)) / np.float32(recipe.intensity_scale), ZXY, recipe.axes)
        difference = _decode(contact_strip(volume, recipe)).astype(int) - _decode(expected)
        assert np.abs(difference).max() <= 1
