"""A few slices of a scan as one small PNG, as radiologists hang them."""

from __future__ import annotations

import struct
import zlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

from thoracle.ct.preprocess import Preprocessing, to_hounsfield
from thoracle.ct.recipes.orientation import ZXY, reorder, view_as
from thoracle.types import ModelInput

_SIDE: Final = 96  # pixels of each slice
_LUNG: Final = (-1350.0, 150.0)  # HU, black to white
_LEVELS: Final = (0.65, 0.5, 0.35)  # of the height, axial; then a coronal slice through the middle


def contact_strip(volume: ModelInput, preprocess: Preprocessing) -> bytes:
    """Draw three axial slices and a coronal one, side by side, patient left on the right, in a lung window.

    Args:
        volume: a model's input.
        preprocess: of that input. Where it gives voxels no size of their own, they are drawn as cubes.
    """
    view_ZXY = view_as(volume, preprocess.axes, ZXY)
    z, x, y = (1.0, 1.0, 1.0) if preprocess.spacing is None else reorder(preprocess.spacing, preprocess.axes, ZXY)
    axial = [_fit(view_ZXY[int(level * (len(view_ZXY) - 1))].T, (y, x)) for level in _LEVELS]
    coronal = _fit(view_ZXY[::-1, :, view_ZXY.shape[2] // 2], (z, x))
    hu = to_hounsfield(np.concatenate([*axial, coronal], axis=1), preprocess)
    black, white = _LUNG
    return png(((hu - black) / (white - black) * 255).clip(0, 255).astype(np.uint8))


def png(grey: NDArray[np.uint8]) -> bytes:
    """Encode an image (rows, columns) of 8-bit grey as PNG."""
    rows, columns = grey.shape
    lines = np.concatenate([np.zeros((rows, 1), np.uint8), grey], axis=1).tobytes()  # each line says that it is not filtered
    header = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(lines, 9)) + _chunk(b"IEND", b"")


def _fit(image: NDArray[np.float32], spacing: tuple[float, float]) -> NDArray[np.float32]:
    """Square pixels, the longer side `_SIDE`, the rest air; each pixel is the nearest voxel."""
    extent = [n * mm for n, mm in zip(image.shape, spacing, strict=True)]
    pixel = max(extent) / _SIDE
    samples = [np.arange(max(1, round(size / pixel))) * pixel / mm for size, mm in zip(extent, spacing, strict=True)]
    rows, columns = (np.minimum(axis_samples.astype(int), n - 1) for axis_samples, n in zip(samples, image.shape, strict=True))
    canvas = np.full((_SIDE, _SIDE), image.min(), np.float32)
    top, left = (_SIDE - len(rows)) // 2, (_SIDE - len(columns)) // 2
    canvas[top : top + len(rows), left : left + len(columns)] = image[np.ix_(rows, columns)]
    return canvas


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
