"""Latents in a file that grows and is never written anew for a change, and exact search over them.

`vectors.bin` holds latents, a row each; `vectors.rows` is the journal of its rows: the id of each, its checksum, and whether it is erased.
An id stands for one latent for ever, so the files can be behind the database, but never contradict it. Both are copies: whatever is wrong
with them, they are made again. A row counts once its line of the journal is on the disk, which is written last.

n rows, m of them in the files, L wide, Q queries.
"""

from __future__ import annotations

import os
import secrets
import struct
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from thoracle.files.atomic import atomic_file
from thoracle.search.record import LatentArray

MAGIC: Final = b"THORVEC2"
#: The name of the latents in an index's folder.
VECTORS: Final = "vectors.bin"
#: The journal's name is that of the latents with this suffix.
JOURNAL: Final = ".rows"
_HEADER: Final = struct.Struct("<8s16sQ")  # magic, a token that both files share, L
_START: Final = 64
_ROW: Final = np.dtype([("id", "<i8"), ("crc", "<u4"), ("live", "<u4")])
_BLOCK: Final = 1 << 14  # vectors a block; 32 MB of 512 float32
_AT_ONCE: Final = 1 << 10  # latents written in one go

Ids = NDArray[np.int64]
Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]
#: An id and the bytes of its latent, as the database has them.
IdLatents = Iterable[tuple[int, bytes]]


@dataclass(frozen=True, kw_only=True, eq=False)
class VectorFile:
    """Hold what the two files hold.

    Attributes:
        token: random, of this pair of files.
        ids: (m,), ascending.
        array: (m, L), mapped.
        crcs: (m,).
        live: (m,), False where a row is erased.
    """

    token: str
    ids: Ids
    array: LatentArray
    crcs: NDArray[np.uint32]
    live: Mask

    @property
    def last_id(self) -> int:
        """Return the highest id, or 0."""
        return int(self.ids[-1]) if len(self.ids) else 0

    def damaged_rows(self) -> Rows:
        """List live rows whose latent or id is not what was written: reads all of them."""
        live = np.flatnonzero(self.live)
        return np.array([row for row in live if _crc(int(self.ids[row]), self.array[row].tobytes()) != self.crcs[row]], np.intp)


@dataclass(frozen=True, kw_only=True, eq=False)
class Vectors:
    """Hold all latents of the database at `state`: rows of the file, and behind them those that the file does not have yet.

    Attributes:
        state: of the database.
        ids: (n,), ascending.
        array: (m, L).
        tail: (n - m, L).
        live: (n,), which rows have a record; None where all have.
        token: of the file; "" where there is none.
    """

    state: str
    ids: Ids
    array: LatentArray
    tail: LatentArray | None = None
    live: Mask | None = None
    token: str = ""

    def rows(self, ids: Ids) -> Rows:
        """Return the rows of ids, in their order; ids that came after this state are left out."""
        rows: Rows = np.searchsorted(self.ids, ids)
        ids, rows = ids[rows < len(self.ids)], rows[rows < len(self.ids)]
        rows = rows[self.ids[rows] == ids]
        return rows

    @property
    def live_rows(self) -> Rows:
        """Return the rows that have a record."""
        return np.arange(len(self.ids)) if self.live is None else np.flatnonzero(self.live)

    def take(self, rows: Rows) -> LatentArray:
        """Return latents of rows, in their order."""
        if self.tail is None:
            return self.array[rows]
        latents = np.empty((len(rows), self.array.shape[1]), np.float32)
        stored = rows < len(self.array)
        latents[stored], latents[~stored] = self.array[rows[stored]], self.tail[rows[~stored] - len(self.array)]
        return latents

    def nearest(self, queries: LatentArray, *, k: int, keep: Mask | None = None, first: int = 0) -> list[tuple[Rows, LatentArray]]:
        """Find the exact k nearest, as `nearest` does, among the rows from `first` on that have a record and pass `keep`."""
        keep = self.live if keep is None else keep
        starts = [(self.array, 0)] if self.tail is None else [(self.array, 0), (self.tail, len(self.array))]
        parts = []
        for array, start in starts:
            skipped = min(max(first - start, 0), len(array))
            offset = start + skipped
            mask = None if keep is None else keep[offset : start + len(array)]
            parts.append([(rows + offset, products) for rows, products in nearest(array[skipped:], queries, k=k, keep=mask)])
        return [_best(answers, k) for answers in zip(*parts, strict=True)]


def read_vector_file(path: Path, *, dim: int) -> VectorFile | None:
    """Map the files; None where they are absent, cut, of another width or contradict themselves. No latent is read."""
    try:
        with path.with_suffix(JOURNAL).open("rb") as journal:
            header, content = journal.read(_START), journal.read()
        with path.open("rb") as file:
            if len(header) != _START or file.read(_START) != header:
                return None
            magic, token, stored_dim = _HEADER.unpack(header[: _HEADER.size])
            entries = np.frombuffer(content, _ROW, count=len(content) // _ROW.itemsize)
            if magic != MAGIC or stored_dim != dim or os.fstat(file.fileno()).st_size < _START + 4 * dim * len(entries):
                return None
            array = np.memmap(file, "<f4", "r", _START, (len(entries), dim)) if len(entries) else np.empty((0, dim), "<f4")
    except (OSError, ValueError):
        return None
    ids, live = np.ascontiguousarray(entries["id"]), entries["live"] == 1
    if len(ids) and (ids[0] < 1 or (np.diff(ids) < 1).any()):
        return None
    return VectorFile(token=token.decode("ascii", "replace"), ids=ids, array=array, crcs=entries["crc"], live=live)


def write_vector_file(path: Path, latents: IdLatents, *, dim: int) -> None:
    """Write both files whole; between their two renames they do not fit each other, and are not read.

    Raises:
        OSError: the disk is full.
    """
    header = _HEADER.pack(MAGIC, secrets.token_hex(8).encode(), dim).ljust(_START, b"\0")
    with atomic_file(path.with_suffix(JOURNAL), private=True) as journal, atomic_file(path, private=True) as file:
        journal.write(header)
        file.write(header)
        for entries, content in _blocks(latents):
            file.write(content)
            journal.write(entries)


def append_vectors(path: Path, stored: VectorFile, latents: IdLatents) -> None:
    """Append rows, of ids above all that are stored.

    Raises:
        OSError: the disk is full; some of them may be appended.
    """
    count, width = len(stored.ids), 4 * stored.array.shape[1]
    with path.open("r+b", buffering=0) as file, path.with_suffix(JOURNAL).open("r+b", buffering=0) as journal:
        for entries, content in _blocks(latents):
            for handle, added, size in ((file, content, width), (journal, entries, _ROW.itemsize)):
                _write(handle, added, _START + count * size)
                os.fsync(handle.fileno())
            count += len(entries) // _ROW.itemsize


def erase_vectors(path: Path, stored: VectorFile, rows: Sequence[int]) -> None:
    """Write zeros over rows where they lie, then note that they are erased. Readers that map the file see zeros.

    Raises:
        OSError: the disk fails. No room is needed.
    """
    width = 4 * stored.array.shape[1]
    with path.open("r+b", buffering=0) as file, path.with_suffix(JOURNAL).open("r+b", buffering=0) as journal:
        for handle, size, contents in (
            (file, width, (bytes(width) for _ in rows)),
            (journal, _ROW.itemsize, (np.array([(stored.ids[row], 0, 0)], _ROW).tobytes() for row in rows)),
        ):
            for row, content in zip(rows, contents, strict=True):
                _write(handle, content, _START + row * size)
            os.fsync(handle.fileno())


def remove_vectors(path: Path) -> None:
    """Remove both files, the journal first: without it latents are not read."""
    for name in (path.with_suffix(JOURNAL), path):
        name.unlink(missing_ok=True)


def nearest(array: LatentArray, queries: LatentArray, *, k: int, keep: Mask | None = None) -> list[tuple[Rows, LatentArray]]:
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
    return [_best([part[q] for part in parts], k) for q in range(len(queries))]


def _best(parts: Sequence[tuple[Rows, LatentArray]], k: int) -> tuple[Rows, LatentArray]:
    """The k best of answers over several ranges of rows, in the order of these."""
    rows = np.concatenate([part[0] for part in parts] or [np.empty(0, np.intp)])
    products = np.concatenate([part[1] for part in parts] or [np.empty(0, np.float32)])
    top = _largest(products, k)
    top = top[products[top] > -np.inf]
    return rows[top], products[top]


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


def _blocks(latents: IdLatents) -> Iterator[tuple[bytes, bytes]]:
    """Lines of the journal and latents, in runs."""
    entries: list[tuple[int, int, int]] = []
    contents: list[bytes] = []
    for number, content in latents:
        entries.append((number, _crc(number, content), 1))
        contents.append(content)
        if len(entries) == _AT_ONCE:
            yield np.array(entries, _ROW).tobytes(), b"".join(contents)
            entries, contents = [], []
    if entries:
        yield np.array(entries, _ROW).tobytes(), b"".join(contents)


def _write(file: Any, content: bytes, offset: int) -> None:
    """Write all at a place."""
    file.seek(offset)
    remaining = memoryview(content)
    while remaining:
        remaining = remaining[file.write(remaining) :]


def _crc(number: int, content: bytes) -> int:
    return int(isal_zlib.crc32(content, isal_zlib.crc32(number.to_bytes(8, "little"))))


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="search")
