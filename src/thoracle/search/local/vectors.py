"""Latents in memory and in a checksummed file, and exact search over them.

The file is a copy: whatever is wrong with it, it is made again from the database. n vectors, L wide, Q queries.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from thoracle.files.atomic import write_atomic
from thoracle.search.record import LatentArray

MAGIC: Final = b"THORVEC1"
_HEADER: Final = struct.Struct("<8s16sQII")  # magic, state, n, L, CRC-32 of what follows the header
_ALIGN: Final = 64
_BLOCK: Final = 1 << 14  # vectors a block; 32 MB of 512 float32

Ids = NDArray[np.int64]
Rows = NDArray[np.intp]


@dataclass(frozen=True, kw_only=True, eq=False)
class Vectors:
    """Hold ids, ascending, and latents (n, L), as they were in the database at `state`."""

    state: str
    ids: Ids
    array: LatentArray

    def rows(self, ids: Ids) -> Rows:
        """Return the rows of ids; each must exist."""
        return np.searchsorted(self.ids, ids)


def gather(state: str, latents: Iterator[tuple[int, bytes]], *, count: int, dim: int) -> Vectors:
    """Gather vectors from rows of the database."""
    ids, array = np.empty(count, np.int64), np.empty((count, dim), "<f4")
    for row, (number, latent) in enumerate(latents):
        ids[row], array[row] = number, np.frombuffer(latent, "<f4")
    return Vectors(state=state, ids=ids, array=array)


def write_vectors(path: Path, vectors: Vectors) -> None:
    """Write whole or not at all.

    Raises:
        OSError: the disk is full.
    """
    count, dim = vectors.array.shape
    start, size = _places(count, dim)
    content = np.zeros(size, np.uint8)
    content[_ALIGN : _ALIGN + 8 * count] = vectors.ids.view(np.uint8)
    content[start:] = vectors.array.reshape(-1).view(np.uint8)
    header = _HEADER.pack(MAGIC, vectors.state.encode(), count, dim, isal_zlib.crc32(content[_ALIGN:]))
    content[: len(header)] = np.frombuffer(header, np.uint8)
    write_atomic(path, content.data)


def read_vectors(path: Path, *, state: str) -> Vectors | None:
    """Map vectors from the file; None where it is absent, damaged, or of another state."""
    try:
        content = np.memmap(path, np.uint8, "r")
    except (OSError, ValueError):
        return None
    if len(content) < _ALIGN:
        return None
    magic, stored_state, count, dim, crc = _HEADER.unpack(content[: _HEADER.size].tobytes())
    if magic != MAGIC or stored_state != state.encode() or count < 1 or dim < 1 or len(content) != (offsets := _places(count, dim))[1]:
        return None
    if isal_zlib.crc32(content[_ALIGN:]) != crc:
        return None
    ids = content[_ALIGN : _ALIGN + 8 * count].view(np.int64)
    return Vectors(state=state, ids=ids, array=content[offsets[0] :].view("<f4").reshape(count, dim))


def nearest(array: LatentArray, queries: LatentArray, *, k: int, keep: NDArray[np.bool_] | None = None) -> list[tuple[Rows, LatentArray]]:
    """Find the exact k nearest of each query: their rows, largest dot product first and the first row on ties, and the products.

    Args:
        array: (n, L).
        queries: (Q, L).
        k: at most so many.
        keep: (n,), which rows may be found.
    """
    starts = range(0, len(array), _BLOCK)

    def block(start: int) -> list[tuple[Rows, LatentArray]]:
        products = _products(array[start : start + _BLOCK], queries)
        if keep is not None:
            products[~keep[start : start + _BLOCK]] = -np.inf
        return [(top + start, column[top]) for column in products.T for top in [_largest(column, k)]]

    parts = list(_threads().map(block, starts)) if len(starts) > 1 else [block(start) for start in starts]
    answers = []
    for q in range(len(queries)):
        rows = np.concatenate([part[q][0] for part in parts] or [np.empty(0, np.intp)])
        products = np.concatenate([part[q][1] for part in parts] or [np.empty(0, np.float32)])
        top = _largest(products, k)
        top = top[products[top] > -np.inf]
        answers.append((rows[top], products[top]))
    return answers


def _products(block: LatentArray, queries: LatentArray) -> LatentArray:
    """(block, Q). One query is a pass over memory; BLAS would start threads inside these threads for it, and take twice the CPU."""
    if len(queries) == 1:
        products: LatentArray = np.einsum("nl,l->n", block, queries[0])[:, None]
        return products
    return block @ queries.T


def _largest(values: LatentArray, k: int) -> Rows:
    """Places of the k largest, largest first, of ties the first."""
    if k < len(values):
        bound = np.partition(values, len(values) - k)[len(values) - k]
        above = np.flatnonzero(values > bound)
        candidates = np.concatenate([above, np.flatnonzero(values == bound)[: k - len(above)]])
    else:
        candidates = np.arange(len(values))
    return candidates[np.lexsort((candidates, -values[candidates]))]


def _places(count: int, dim: int) -> tuple[int, int]:
    """Where the latents begin and the file ends; ids begin at `_ALIGN`."""
    start = _ALIGN + -(-8 * count // _ALIGN) * _ALIGN
    return start, start + 4 * count * dim


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="search")
