"""NRRD files, attached or detached, raw, gzip or bzip2: from pynrrd's header to voxels as stored.

pynrrd reads headers only: it would unpack the voxels without a limit, and open whatever path a detached header names.
Units, orientation and the number of slices are judged elsewhere.
"""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any, Final

import nrrd
import numpy as np
from numpy.typing import NDArray

from thoracle.ct.byte_streams import Codec, Stream, decompress_into, file_beside
from thoracle.ct.geometry.header import BLANK, UNITS_MM, is_blank, millimetres_per
from thoracle.ct.stored import StoredScan
from thoracle.errors import CorruptFile, GeometryInvalid, NotCT, UnsupportedFormat
from thoracle.types import Affine

_HEADER_BYTES = 1 << 20
_CODECS: Final[dict[str, Codec]] = {"raw": "plain", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2"}
_SCALAR_AXES = ("domain", "space", "none", "???")
#: What turns a named space into LPS; spaces not named after the body say nothing of it.
_TO_LPS: Final = {
    "left-posterior-superior": (1, 1, 1),
    "lps": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1),
    "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1),
    "las": (1, -1, 1),
}
_EXPORT_AGAIN = "Export the scan again from its source."


def read_nrrd(path: Path, *, data: Path | None = None) -> StoredScan:
    """Read a `.nrrd`, or a `.nhdr` with its data file in the same folder (the SHA-256 is then over both, header first).

    Args:
        path: of the file, or of the header.
        data: the header's data file where it is known, in place of the name that the header gives.

    Raises:
        CorruptFile: cut, damaged, or a header that contradicts the voxels.
        NotCT: not three axes of real numbers.
        UnsafeArchive: a data file elsewhere.
        UnsupportedFormat: an encoding as text, or data in several files.
        GeometryInvalid: units other than mm, or directions that are not three vectors.
    """
    header, start = _header(path)
    header["encoding"] = header["encoding"].lower()
    shape, dtype = _shape(header, path), _dtype(header, path)
    affine, geometry, placed = _affine(header, path)
    blank = affine is not None and not placed and is_blank(affine)
    name = _data_name(header)
    data = None if name is None else file_beside(path, name, data)
    stream = _stream(header, data or path, 0 if data else start, math.prod(shape) * dtype.itemsize)
    voxels, digest, notes = decompress_into(stream, shape=shape, dtype=dtype, hashed=(path, data) if data else (path,))
    return StoredScan(
        voxels=voxels,
        affine=None if blank else affine,
        geometry=BLANK if blank else geometry,
        rescale=None,
        format="NRRD",
        sha256=digest,
        repaired=placed + notes,
        blank=affine if blank else None,
    )


def nrrd_data_name(path: Path) -> str | None:
    """Return the name of the data file that a header gives; None where voxels follow it.

    Raises:
        CorruptFile: it is no header.
    """
    return _data_name(_header(path)[0])


def _data_name(header: dict[str, Any]) -> str | None:
    name: str | None = header.get("data file", header.get("datafile"))
    return name


@np.errstate(invalid="ignore", over="ignore")  # damaged numbers are judged, not warned of
def _header(path: Path) -> tuple[dict[str, Any], int]:
    """pynrrd's header, and the byte after it."""
    with path.open("rb") as file:
        head = file.read(_HEADER_BYTES)
    if not any(blank in head for blank in (b"\n\n", b"\n\r\n")) and len(head) == _HEADER_BYTES:
        raise CorruptFile(f"has no end of header within {_HEADER_BYTES:,} bytes", hint=_EXPORT_AGAIN, source=path)
    lines = io.BytesIO(head)
    try:
        header = dict(nrrd.read_header(lines))
    # What pynrrd raises on numbers, vectors, quotes and lines that are none.
    except (nrrd.NRRDError, ValueError, IndexError, OverflowError, StopIteration) as error:
        raise CorruptFile(f"is no NRRD header ({error})", hint=_EXPORT_AGAIN, source=path) from error
    missing = [field for field in ("type", "dimension", "sizes", "encoding") if field not in header]
    if missing:
        raise CorruptFile(f"the header has no {', '.join(missing)}: it is cut or damaged", hint=_EXPORT_AGAIN, source=path)
    return header, lines.tell()


def _shape(header: dict[str, Any], path: Path) -> tuple[int, ...]:
    shape = tuple(int(n) for n in header["sizes"])
    if len(shape) != header["dimension"] or min(shape, default=0) < 1:
        raise CorruptFile(f"dimension is {header['dimension']}, sizes are {shape}", hint=_EXPORT_AGAIN, source=path)
    kinds = [kind for kind in header.get("kinds", []) if kind.lower() not in _SCALAR_AXES]
    if len(shape) != 3 or kinds:
        detail = f"expected three axes in space, has {len(shape)}" + (f", of kind {', '.join(kinds)[:80]}" if kinds else "")
        raise NotCT(detail, hint="Give one volume of one number a voxel.", source=path)
    return shape


def _dtype(header: dict[str, Any], path: Path) -> np.dtype[Any]:
    if header["encoding"] not in _CODECS:
        detail = f"encoding {header['encoding'][:20]!r} is not read; raw, gzip and bzip2 are"
        raise UnsupportedFormat(detail, hint="Convert it: unu save -f nrrd -e gzip -i SCAN.nrrd -o SCAN_gzip.nrrd", source=path)
    header_1d = {"type": header["type"], "dimension": 1, "sizes": np.ones(1, int), "encoding": "raw"}
    if "endian" in header:
        header_1d["endian"] = header["endian"]
    try:
        dtype: np.dtype[Any] = nrrd.read_data(header_1d, fh=io.BytesIO(bytes(8))).dtype  # of one voxel: pynrrd knows the names of types
    except KeyError as error:
        raise NotCT(f"type {header['type'][:20]!r} is no number", hint="Give the CT itself.", source=path) from error
    except (nrrd.NRRDError, ValueError) as error:
        raise CorruptFile(f"type and endian make no sense ({error})", hint=_EXPORT_AGAIN, source=path) from error
    return dtype


def _affine(header: dict[str, Any], path: Path) -> tuple[Affine | None, str, tuple[str, ...]]:
    """The LPS affine in mm, the fields that gave it, and what was made of them; no affine where the header does not speak of the body."""
    space = header.get("space", "")
    if space.lower() not in _TO_LPS:
        return None, f"space is {space[:30]!r}, which is not the body's" if space else "no space", ()
    if "space directions" not in header:
        return None, "no space directions", ()
    directions, origin = header["space directions"], header.get("space origin", np.zeros(3))
    if directions.shape != (3, 3) or origin.shape != (3,):
        detail = f"expected three directions and an origin, got {directions.shape}, {origin.shape}"
        raise GeometryInvalid(detail, hint=_EXPORT_AGAIN, source=path)
    fields = "space directions" if "space origin" in header else "space directions; no space origin, taken as zero"
    factor, notes = _unit(header, directions, path)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = directions.T * factor, origin * factor
    return np.array([*_TO_LPS[space.lower()], 1])[:, None] * affine + 0.0, fields, notes  # + 0.0: no minus zeros


def _unit(header: dict[str, Any], directions: NDArray[np.float64], path: Path) -> tuple[float, tuple[str, ...]]:
    """Millimetres in a unit of the header's, and a note if it is another."""
    units = {str(unit).strip() for unit in header.get("space units", [])}
    if all(UNITS_MM.get(unit.lower()) == 1 for unit in units):
        return 1.0, ()
    if len(units) > 1:
        raise GeometryInvalid(f"space units must be one unit, are {', '.join(sorted(units))[:80]}", hint=_EXPORT_AGAIN, source=path)
    (unit,) = units
    shape = tuple(int(n) for n in header["sizes"])
    factor = millimetres_per(unit, np.linalg.norm(directions, axis=1), shape, field="space units", source=path)
    return factor, (f"lengths in {unit} (space units) turned to mm",)


def _stream(header: dict[str, Any], path: Path, start: int, need: int) -> Stream:
    codec = _CODECS[header["encoding"]]
    lines, skip = (header.get(f"{unit} skip", header.get(f"{unit}skip", 0)) for unit in ("line", "byte"))
    if skip == -1 and codec == "plain":  # "the voxels are the end of the file"
        skip = max(path.stat().st_size - start - need, 0)
    if lines != 0 or skip < 0:
        raise UnsupportedFormat(f"line skip {lines} and byte skip {skip} are not read", hint=_EXPORT_AGAIN, source=path)
    return Stream(path=path, codec=codec, file_offset=start, payload_offset=skip)
