"""Preprocessed volumes on the disk: int16 Hounsfield units, packed, checksummed, one file each.

A file is MAGIC, the length and CRC-32 of a header, the header (JSON: shape, scale, and length and CRC-32 of each chunk), the chunks: runs
of planes along z, each a Blosc frame, which says itself how it is packed: LZ4 behind a bit shuffle, or zstd before 2026-12. What else was
measured is in docs/decisions/0011-cache.md and 0120-cache-codec.md.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from isal import isal_zlib
from numcodecs import blosc
from numcodecs.blosc import Blosc
from numpy.typing import NDArray

from thoracle.ct.preprocess import Preprocessing
from thoracle.errors import CacheDamaged, InputError
from thoracle.types import ModelInput

# Blosc's threads append a frame's blocks in the order in which they finish: equal voxels would be other bytes now and then, and what is
# known by the hash of a file (a patient's tokens, to be deleted) would not be found by it.
blosc.use_threads = False

MAGIC: Final = b"THORVOL1"
SUFFIX: Final = ".vol"
_PREFIX: Final = struct.Struct("<8sII")
_CODEC: Final = Blosc(cname="lz4hc", clevel=2, shuffle=Blosc.BITSHUFFLE, blocksize=512 << 10)
_CHUNK_BYTES: Final = 4 << 20  # a chunk's planes and their floats stay near the core that unpacks them
_HEADER_BYTES: Final = 1 << 20
_MOST_VOXELS: Final = 1 << 29  # as `PreprocessConfig` and `Recipe`
_CURE: Final = "Run `thoracle prepare` with --verify: it finds what is damaged and reads those scans again."
_DAMAGE: Final = (OSError, ValueError, KeyError, TypeError, RuntimeError, struct.error)


def require_cacheable(config: Preprocessing) -> None:
    """Raise InputError for a window or padding that int16 cannot hold."""
    reach = max(*(abs(end) for end in config.hu_window), abs(config.pad_value * config.intensity_scale + config.zero_hu))
    if reach > np.iinfo(np.int16).max:
        raise InputError(f"the window or padding reaches {reach:g} HU, int16 holds 32,767", hint="Narrow it.", source="preprocess")


def pack(volume: ModelInput, *, scale: float, zero: float = 0.0) -> bytes:
    """Pack one volume as the bytes of a cache file.

    Args:
        volume: (z, x, y) or along other axes, units of `scale` HU, as `preprocess` gives it.
        scale: HU of one unit of it. Values are rounded to whole HU.
        zero: HU that are 0 in it.
    """
    planes = max(1, _CHUNK_BYTES // (2 * math.prod(volume.shape[1:])))
    chunks = []
    for first in range(0, len(volume), planes):
        hu = volume[first : first + planes] * np.float32(scale)
        hu = np.rint(hu + np.float32(zero) if zero else hu).astype(np.int16)
        chunks.append(_CODEC.encode(hu))
    header = {"shape": volume.shape, "scale": scale, "planes": planes, "chunks": [(len(c), _crc(c)) for c in chunks]}
    header |= {"zero": zero} if zero else {}
    text = json.dumps(header, separators=(",", ":")).encode()
    return b"".join((_PREFIX.pack(MAGIC, len(text), _crc(text)), text, *chunks))


def read_volume(path: Path) -> ModelInput:
    """Read (z, x, y) float32 in the packed units, within half a HU; every checksum is verified.

    Raises:
        CacheDamaged: absent, cut, changed, or no such file.
    """
    with _opened(path) as (file, header):
        result = np.empty(header.shape, np.float32)
        hu = np.empty((header.planes, *header.shape[1:]), np.int16)
        for planes, chunk in header.runs():
            into = result[planes]
            _unpack(file, chunk, hu[: len(into)])
            stored: NDArray[Any] = hu[: len(into)]
            np.divide(stored - np.float32(header.zero) if header.zero else stored, np.float32(header.scale), out=into)
    return result


def stored_shape(path: Path) -> tuple[int, int, int]:
    """Return the voxels of a volume by its file's header; raises CacheDamaged as `read_volume`."""
    try:
        with path.open("rb", buffering=0) as file:
            return _read_header(file).shape
    except _DAMAGE as error:
        raise _damaged(path, error) from error


def read_hounsfield(path: Path, into: NDArray[np.int16], *, scale: float, zero: float = 0.0) -> None:
    """Read a volume's whole HU into a buffer of its shape (z, x, y); every checksum is verified.

    Args:
        path: of the file.
        into: contiguous; holds anything where reading fails.
        scale, zero: HU of one unit of the model's input that the volume was prepared as, and those that are 0 in it.

    Raises:
        CacheDamaged: absent, cut, changed, no such file, or a volume of another shape or scale.
    """
    with _opened(path) as (file, header):
        if (header.shape, header.scale, header.zero) != (into.shape, scale, zero):
            detail = (
                f"is of shape {header.shape} and scale {header.scale:g}, {header.zero:g} HU being 0;"
                f" the cohort's volumes are {into.shape} and {scale:g}, {zero:g}"
            )
            raise CacheDamaged(detail, hint="Run `thoracle prepare` again.", source=path)
        for planes, chunk in header.runs():
            _unpack(file, chunk, into[planes])


@dataclass(frozen=True, kw_only=True)
class _Header:
    shape: tuple[int, int, int]
    scale: float
    planes: int
    chunks: tuple[tuple[int, int], ...]
    zero: float = 0.0

    def runs(self) -> Iterator[tuple[slice, tuple[int, int]]]:
        """Yield the planes of each chunk, and its length and CRC-32."""
        for number, chunk in enumerate(self.chunks):
            yield slice(number * self.planes, (number + 1) * self.planes), chunk


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, _Header]]:
    """The file behind its header, which is read to its end here; what damage raises becomes CacheDamaged."""
    try:
        with path.open("rb", buffering=0) as file:
            yield file, _read_header(file)
            if file.read(1):
                raise ValueError("more than the header tells")
    except _DAMAGE as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> CacheDamaged:
    what = error.strerror if isinstance(error, OSError) else error
    return CacheDamaged(f"is not what was written ({what})", hint=_CURE, source=path)


def _read_header(file: Any) -> _Header:
    magic, length, crc = _PREFIX.unpack(file.read(_PREFIX.size))
    text = file.read(length) if magic == MAGIC and length <= _HEADER_BYTES else b""
    if not text or _crc(text) != crc:
        raise ValueError("no header of a cached volume")
    values = json.loads(text)
    header = _Header(
        shape=tuple(values["shape"]),
        scale=values["scale"],
        planes=values["planes"],
        chunks=tuple(map(tuple, values["chunks"])),
        zero=values.get("zero", 0.0),
    )
    if math.prod(header.shape) > _MOST_VOXELS or header.planes < 1 or len(header.chunks) != -(-header.shape[0] // header.planes):
        raise ValueError("a header that contradicts itself")
    return header


def _unpack(file: Any, described: tuple[int, int], into: NDArray[np.int16]) -> None:
    chunk = file.read(described[0])
    if (len(chunk), _crc(chunk)) != described:
        raise ValueError("a chunk is cut or changed")
    _CODEC.decode(chunk, into)


def _crc(content: bytes) -> int:
    return int(isal_zlib.crc32(content))
