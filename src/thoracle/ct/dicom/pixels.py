"""Pixels of sorted slices into one array: uncompressed ones here, compressed ones through the expendable worker."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import ExplicitVRBigEndian

from thoracle.ct.dicom.decoder import Codestream, Decoder
from thoracle.ct.dicom.frames import Slice
from thoracle.ct.dicom.header import Header, inflate
from thoracle.ct.dicom.stored_values import SampleFormat, find_padding, find_sign, stored_array
from thoracle.errors import BudgetExceeded, CorruptFile, TruncatedFile, UnsupportedFormat
from thoracle.types import StoredArray

NATIVE: Final = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")
#: RLE, JPEG (50, 51, retired 53 and 55, lossless 57 and 70), JPEG-LS, JPEG 2000 and high-throughput JPEG 2000.
COMPRESSED: Final = (
    "1.2.840.10008.1.2.5",
    *(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 53, 55, 57, 70, 80, 81, 90, 91, 201, 202, 203)),
)
MAX_VOXEL_BYTES: Final = 8 << 30
MAX_SIDE: Final = 4096  # the largest CT matrix in use is 2048
MAX_RATIO: Final = 200  # lossy CT is at most 20 to 1; only a bomb is more, over a whole series
FREE_BYTES: Final = 256 << 20


def require_decodable(header: Header) -> None:
    """Raise UnsupportedFormat, with the line that converts, for an encoding that no codec here reads."""
    if header.syntax not in NATIVE + COMPRESSED:
        raise UnsupportedFormat(
            f"transfer syntax {header.syntax.name} is not decoded here",
            hint="Convert it: gdcmconv --raw IN OUT, or dcmdjpeg IN OUT.",
            source=header.source.label,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class PixelStack:
    """Hold stored values (slice, row, column), where they are padding (None: nowhere), the SHA-256 of their files, and notes."""

    voxels: StoredArray
    padding: NDArray[np.bool_] | None
    sha256: str
    notes: tuple[str, ...]


def read_pixels(slices: Sequence[Slice]) -> PixelStack:
    """Read stored values of slices of one size, of which one may come several times; padding holds the lowest value of the rest.

    Raises:
        UnsupportedFormat: pixels of a kind CT does not have.
        CorruptFile: damaged; TruncatedFile: cut; BudgetExceeded: more than a scan may be.
    """
    shape = (len(slices), slices[0].rows, slices[0].columns)
    of_file: dict[Header, list[tuple[int, int]]] = {}
    for k, source_slice in enumerate(slices):
        of_file.setdefault(source_slice.header, []).append((k, source_slice.frame))
    cell = np.dtype(f"u{max(_stored_dtype(header).itemsize for header in of_file)}")
    _require_modest(shape, cell, of_file)
    cells = np.empty(shape, cell)
    forms: dict[int, SampleFormat] = {}
    digests = []
    with Decoder() as decoder:
        for header, positions in of_file.items():
            content = header.source.read()
            slices_of_frame: dict[int, list[int]] = {}
            for k, frame in positions:
                slices_of_frame.setdefault(frame, []).append(k)
            digests.append(hashlib.sha256(content))
            if len(slices_of_frame) < header.nonnegative_int("NumberOfFrames", default=1):  # volumes of one file are scans of their own
                digests[-1].update(repr(sorted(slices_of_frame)).encode())
            for frame, (pixels, codestream) in enumerate(_frames(header, content, (shape[1], shape[2]), decoder)):
                for k in slices_of_frame.get(frame, ()):
                    cells[k] = pixels  # a sign is extended over a wider cell
                    forms[k] = _sample_format(header, codestream)
    digest = digests[0] if len(digests) == 1 else hashlib.sha256(b"".join(d.digest() for d in digests))
    labelled = [forms[k] for k in range(len(slices))]
    padding, padding_notes = find_padding(cells, labelled, slices)
    corrected, sign_notes = find_sign(cells, labelled, slices, padding)
    if sign_notes:  # what 65535 is now is -1, and may be tissue
        padding, padding_notes = find_padding(cells, corrected, slices)
    voxels = stored_array(cells, corrected)
    if padding is not None:
        voxels[padding] = voxels[~padding].min()
    return PixelStack(voxels=voxels, padding=padding, sha256=digest.hexdigest(), notes=padding_notes + sign_notes)


def resample_slices(voxels: StoredArray, places: NDArray[np.float64]) -> StoredArray:
    """Interpolate between neighbouring slices, linearly; whole numbers are rounded.

    Args:
        voxels: (slice, row, column).
        places: index among these slices of each that is made; a whole number is the slice itself.
    """
    made = np.empty((len(places), *voxels.shape[1:]), voxels.dtype)
    for k, place in enumerate(places):
        below = int(place)
        if place == below:
            made[k] = voxels[below]
            continue
        mixed = voxels[below] * (below + 1 - place) + voxels[below + 1] * (place - below)
        made[k] = np.rint(mixed) if voxels.dtype.kind in "iu" else mixed
    return made


def resample_padding(padding: NDArray[np.bool_], places: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mark padding where either neighbour is padding: there is no number to interpolate."""
    spread: NDArray[np.bool_] = padding[np.floor(places).astype(int)] | padding[np.ceil(places).astype(int)]
    return spread


def _frames(header: Header, content: bytearray, shape: tuple[int, int], decoder: Decoder) -> Iterator[tuple[NDArray[Any], Codestream]]:
    """Frames as they lie in their cells, each with what its codestream says."""
    count, dtype = header.nonnegative_int("NumberOfFrames", default=1), _stored_dtype(header)
    if header.syntax in COMPRESSED:
        yield from decoder.frames(content, count=count, shape=shape, dtype=dtype, source=header.source.label)
    else:
        yield from ((frame, Codestream()) for frame in _native(header, content, (count, *shape), dtype))


def _sample_format(header: Header, codestream: Codestream) -> SampleFormat:
    """BitsStored counts, unless the codestream has fewer bits: then the sign is the highest of those."""
    stored = _bits_stored(header)
    return SampleFormat(
        allocated=header.nonnegative_int("BitsAllocated"),
        bits=min(stored, codestream.bits or stored),
        signed=bool(header.nonnegative_int("PixelRepresentation")),
        codec_signed=bool(codestream.signed),
    )


def _native(header: Header, content: bytearray, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """(frame, row, column) as a view of the content."""
    if header.pixels is None:
        raise CorruptFile(
            "its transfer syntax is uncompressed, its PixelData is not integers of known length",
            hint="Export it again.",
            source=header.source.label,
        )
    start, claimed = header.pixels
    values = int(np.prod(shape))
    needed = values * dtype.itemsize
    if not needed <= claimed < 2 * needed:  # trailing padding occurs; a second image does not
        kind = TruncatedFile if claimed < needed else CorruptFile
        detail = f"Rows, Columns and frames ask for {needed:,} bytes, PixelData has {claimed:,}"
        raise kind(detail, hint="Export it again.", source=header.source.label)
    data = inflate(memoryview(content)[header.deflated_at :], source=header.source) if header.deflated_at else content
    return np.frombuffer(data, dtype, values, start).reshape(shape)


def _stored_dtype(header: Header) -> np.dtype[Any]:
    allocated, big = header.nonnegative_int("BitsAllocated"), header.syntax == ExplicitVRBigEndian
    if allocated not in (8, 16, 32) or (big and allocated == 8):
        raise UnsupportedFormat(f"pixels of {allocated} bits are no CT", hint="Export it again.", source=header.source.label)
    _bits_stored(header)
    kind = "i" if header.nonnegative_int("PixelRepresentation") else "u"
    return np.dtype(f"{'>' if big else '<'}{kind}{allocated // 8}")


def _bits_stored(header: Header) -> int:
    allocated = header.nonnegative_int("BitsAllocated")
    stored = header.nonnegative_int("BitsStored", default=allocated)
    high = header.nonnegative_int("HighBit", default=stored - 1)
    if not 1 <= stored <= allocated or high != stored - 1:
        raise CorruptFile(
            f"BitsAllocated {allocated}, BitsStored {stored} and HighBit {high} contradict each other",
            hint="Export it again.",
            source=header.source.label,
        )
    return stored


def _require_modest(shape: tuple[int, ...], dtype: np.dtype[Any], of_file: dict[Header, list[tuple[int, int]]]) -> None:
    """What the headers promise is judged before memory is asked for: a compressed file can promise anything."""
    total = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    stored = sum(
        header.source.size * len(positions) // max(1, header.nonnegative_int("NumberOfFrames", default=1))
        for header, positions in of_file.items()
    )
    inflated = total > max(FREE_BYTES, MAX_RATIO * stored)
    padded = stored > max(FREE_BYTES, 2 * total)
    if inflated or padded or total > MAX_VOXEL_BYTES or not 1 <= min(shape[1:]) <= max(shape[1:]) <= MAX_SIDE:
        first = next(iter(of_file))
        raise BudgetExceeded(
            f"promises {shape[0]} slices of {shape[1]} x {shape[2]}, {total:,} bytes of voxels from {stored:,} bytes of files",
            hint="Export the series again.",
            source=first.source.label,
        )
