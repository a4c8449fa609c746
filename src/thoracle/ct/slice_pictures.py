"""Draw slices of a model's input as PNG: pixels square, the patient's left on the right."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray


def fit_slice(image: NDArray[np.float32], spacing: tuple[float, float], *, side: int) -> NDArray[np.float32]:
    """Resample to square pixels, the longer side `side`, the rest air; each pixel is the nearest voxel."""
    extent = [n * mm for n, mm in zip(image.shape, spacing, strict=True)]
    pixel = max(extent) / side
    samples = [np.arange(max(1, round(size / pixel))) * pixel / mm for size, mm in zip(extent, spacing, strict=True)]
    rows, columns = (np.minimum(axis_samples.astype(int), n - 1) for axis_samples, n in zip(samples, image.shape, strict=True))
    canvas = np.full((side, side), image.min(), np.float32)
    top, left = (side - len(rows)) // 2, (side - len(columns)) // 2
    canvas[top : top + len(rows), left : left + len(columns)] = image[np.ix_(rows, columns)]
    return canvas


def grey_levels(hu: NDArray[np.float32], window: tuple[float, float]) -> NDArray[np.uint8]:
    """Map HU to 8-bit grey, the window's ends to black and white."""
    black, white = window
    return ((hu - black) / (white - black) * 255).clip(0, 255).astype(np.uint8)


def png(grey: NDArray[np.uint8]) -> bytes:
    """Encode an image (rows, columns) of 8-bit grey as PNG."""
    rows, columns = grey.shape
    lines = np.concatenate([np.zeros((rows, 1), np.uint8), grey], axis=1).tobytes()  # each line says that it is not filtered
    header = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(lines, 9)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
