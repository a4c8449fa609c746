"""MetaImage files, `.mha` or `.mhd` with its `.raw` or `.zraw`: from a header of `Key = Value` lines to voxels as stored.

The conventions are ITK's (MetaIO's documentation): millimetres are LPS, and TransformMatrix lists the direction of the first axis, then of
the second and third. AnatomicalOrientation is a remark, which ITK writes and does not read.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

import numpy as np

from thoracle.ct.byte_streams import Codec, Stream, decompress_into, file_beside
from thoracle.ct.geometry.header import BLANK, is_blank, millimetres_per
from thoracle.ct.stored import Rescale, StoredScan
from thoracle.errors import CorruptFile, GeometryInvalid, NotCT, UnsupportedFormat
from thoracle.types import Affine

_HEADER_BYTES = 1 << 20
_TYPES: Final = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
#: Names of one field, the usual one first.
_OFFSET: Final = ("Offset", "Position", "Origin")
_DIRECTIONS: Final = ("TransformMatrix", "Orientation", "Rotation")
_BIG_ENDIAN: Final = ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")
_INTENSITY: Final = ("ElementToIntensityFunctionSlope", "ElementToIntensityFunctionOffset")
_UNIT = 1e-3  # by which a direction may be longer or shorter than 1
_LETTERS: Final = ("RL", "AP", "IS")  # where x, y and z of LPS come from, and go to
_EXPORT_AGAIN = "Export the scan again from its source."
_JOIN = "Join its slices: import SimpleITK as s; s.WriteImage(s.ReadImage('SCAN.mhd'), 'SCAN.mha')"


def read_metaimage(path: Path, *, data: Path | None = None) -> StoredScan:
    """Read a `.mha`, or a `.mhd` with its data file in the same folder (the SHA-256 is then over both, header first).

    Args:
        path: of the file, or of the header.
        data: the header's data file where it is known, in place of the name that the header gives.

    Raises:
        CorruptFile: cut, damaged, or a header that contradicts itself or the voxels.
        NotCT: not three axes of one real number a voxel.
        UnsafeArchive: a data file elsewhere.
        UnsupportedFormat: voxels as text, or data in several files.
        GeometryInvalid: spacing that is not above zero, directions that are no unit vectors, or a unit that makes no body.
    """
    fields, start = _header(path)
    shape, dtype = _shape(fields, path), _dtype(fields, path)
    affine, geometry, placed = _affine(fields, shape, path)
    blank = affine is not None and "DistanceUnits" not in fields and is_blank(affine)
    name = _data_name(fields)
    data = None if name is None else _data_file(name, path, data)
    stream = _stream(fields, data or path, 0 if data else start, math.prod(shape) * dtype.itemsize)
    voxels, digest, notes = decompress_into(stream, shape=shape, dtype=dtype, hashed=(path, data) if data else (path,))
    return StoredScan(
        voxels=voxels,
        affine=None if blank else affine,
        geometry=BLANK if blank else geometry,
        rescale=_rescale(fields, path),
        format="MetaImage",
        sha256=digest,
        repaired=placed + notes,
        blank=affine if blank else None,
    )


def metaimage_data_name(path: Path) -> str | None:
    """Return the name of the data file that a header gives; None where voxels follow it.

    Raises:
        CorruptFile: it is no header.
    """
    return _data_name(_header(path)[0])


def _data_name(fields: dict[str, str]) -> str | None:
    """Return the name as the disk has it: a header is decoded byte by byte, and a file system's names are UTF-8."""
    name = fields["ElementDataFile"]
    return None if name.upper() == "LOCAL" else name.encode("latin-1").decode("utf-8", "surrogateescape")


def _header(path: Path) -> tuple[dict[str, str], int]:
    """Fields up to ElementDataFile, which is the last, and the byte after its line."""
    with path.open("rb") as file:
        head = file.read(_HEADER_BYTES)
    fields: dict[str, str] = {}
    start = 0
    while "ElementDataFile" not in fields:
        end = head.find(b"\n", start)
        line = head[start : end if end >= 0 else len(head)].decode("latin-1")
        key, equals, text = (part.strip() for part in line.partition("="))
        if key and not (equals and key.isidentifier()):
            raise CorruptFile(f"is no MetaImage header: {key[:40]!r} is not followed by '= …'", hint=_EXPORT_AGAIN, source=path)
        if fields.get(key, text) != text:
            raise CorruptFile(f"the header says {key} twice, and not alike", hint=_EXPORT_AGAIN, source=path)
        if key:
            fields[key] = text
        start = end + 1
        if end < 0:
            break
    missing = [field for field in ("NDims", "DimSize", "ElementType", "ElementDataFile") if field not in fields]
    if missing:
        raise CorruptFile(f"the header has no {', '.join(missing)}: it is cut or damaged", hint=_EXPORT_AGAIN, source=path)
    return fields, start or len(head)


def _shape(fields: dict[str, str], path: Path) -> tuple[int, ...]:
    if fields.get("ObjectType", "Image").lower() != "image":
        raise NotCT(f"ObjectType is {fields['ObjectType'][:20]!r}, not Image", hint="Give the CT itself.", source=path)
    axes = _whole_number(fields, "NDims", path)
    channels = _whole_number(fields, "ElementNumberOfChannels", path) if "ElementNumberOfChannels" in fields else 1
    if axes != 3 or channels != 1:
        detail = f"expected three axes of one number a voxel, has {axes} axes and {channels} channel(s)"
        raise NotCT(detail, hint="Give one volume of one number a voxel.", source=path)
    sizes = _numbers(fields, "DimSize", 3, path)
    if not all(size >= 1 and size.is_integer() for size in sizes):
        raise CorruptFile(f"DimSize must be three whole numbers above zero, is {fields['DimSize'][:40]!r}", hint=_EXPORT_AGAIN, source=path)
    return tuple(map(int, sizes))


def _dtype(fields: dict[str, str], path: Path) -> np.dtype[Any]:
    kind = fields["ElementType"]
    if kind.upper() not in _TYPES:
        raise NotCT(f"ElementType {kind[:30]!r} is no number", hint="Give the CT itself.", source=path)
    if not _is_true(fields, "BinaryData", path, default=True):
        raise UnsupportedFormat("BinaryData = False: voxels as text are not read", hint=_JOIN, source=path)
    orders = {_is_true(fields, field, path, default=False) for field in _BIG_ENDIAN if field in fields}
    if len(orders) > 1:
        raise CorruptFile(f"{' and '.join(_BIG_ENDIAN)} contradict each other", hint=_EXPORT_AGAIN, source=path)
    return np.dtype(_TYPES[kind.upper()]).newbyteorder(">" if True in orders else "<")


def _affine(fields: dict[str, str], shape: tuple[int, ...], path: Path) -> tuple[Affine | None, str, tuple[str, ...]]:
    """The LPS affine in mm, the fields that gave it, and what was made of them; no affine where the header does not say."""
    if "ElementSpacing" not in fields:
        return None, "no ElementSpacing", ()
    orientation = fields.get("AnatomicalOrientation", "???").upper()
    field = _alias(fields, _DIRECTIONS, path)
    if field is None and orientation not in ("???", "RAI"):
        return None, f"no TransformMatrix, and AnatomicalOrientation is {orientation[:3]}", ()
    steps = np.array(_numbers(fields, "ElementSpacing", 3, path))
    if not (steps > 0).all():
        detail = f"ElementSpacing must be millimetres above zero, is {fields['ElementSpacing'][:60]!r}"
        raise GeometryInvalid(detail, hint=_EXPORT_AGAIN, source=path)
    directions = np.eye(3) if field is None else np.reshape(_numbers(fields, field, 9, path), (3, 3))
    if np.abs(np.linalg.norm(directions, axis=1) - 1).max() > _UNIT:
        raise GeometryInvalid(f"{field} must be three unit vectors, is {fields[str(field)][:120]!r}", hint=_EXPORT_AGAIN, source=path)
    origin = _alias(fields, _OFFSET, path)
    offset = np.zeros(3) if origin is None else np.array(_numbers(fields, origin, 3, path))
    factor = 1.0
    notes: tuple[str, ...] = ()
    unit = fields.get("DistanceUnits", "mm")
    if unit.lower() not in ("mm", "?"):
        factor = millimetres_per(unit, steps, shape, field="DistanceUnits", source=path)
        notes += (f"lengths in {unit} (DistanceUnits) turned to mm",)
    written = _orientation(directions)
    if orientation not in ("???", written):
        notes += (f"AnatomicalOrientation {orientation[:3]} left out: {field or 'the default'} says {written}",)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = directions.T * steps * factor, offset * factor
    said = [f"{field}, ElementSpacing" if field else "ElementSpacing; no TransformMatrix, taken as left, posterior, superior"]
    said += [] if origin else ["no Offset, taken as zero"]
    return affine + 0.0, "; ".join(said), notes


def _orientation(directions: np.ndarray[Any, np.dtype[np.float64]]) -> str:
    """Letters of where the three axes come from."""
    nearest = np.abs(directions).argmax(axis=1)
    return "".join(_LETTERS[at][int(axis[at] < 0)] for axis, at in zip(directions, nearest, strict=True))


def _rescale(fields: dict[str, str], path: Path) -> Rescale | None:
    """A scale that MetaIO states and ITK does not apply."""
    slope, intercept = (
        _numbers(fields, field, 1, path)[0] if field in fields else default for field, default in zip(_INTENSITY, (1.0, 0.0), strict=True)
    )
    return None if (slope, intercept) == (1.0, 0.0) else Rescale(slope=slope, intercept=intercept, source="/".join(_INTENSITY))


def _data_file(name: str, path: Path, data: Path | None) -> Path:
    if name.upper().startswith("LIST") or "%" in name:
        raise UnsupportedFormat("its voxels lie in a list of files, which is not read", hint=_JOIN, source=path)
    return file_beside(path, name, data)


def _stream(fields: dict[str, str], path: Path, start: int, need: int) -> Stream:
    """Where the voxels are: from `start` on, or behind HeaderSize bytes of a data file, or at its end (-1)."""
    skip = _whole_number(fields, "HeaderSize", path) if "HeaderSize" in fields else 0
    packed = _is_true(fields, "CompressedData", path, default=False)
    if skip == -1 and not packed:
        return Stream(path=path, codec="plain", file_offset=max(start, path.stat().st_size - need))
    if skip < 0 or (skip and start):
        raise UnsupportedFormat(f"HeaderSize = {skip} is not read here", hint=_EXPORT_AGAIN, source=path)
    with path.open("rb") as file:
        file.seek(start + skip)
        codec: Codec = "gzip" if file.read(2) == b"\x1f\x8b" else "zlib"
    return Stream(path=path, codec=codec if packed else "plain", file_offset=start + skip)


# Fields


def _alias(fields: dict[str, str], names: tuple[str, ...], path: Path) -> str | None:
    """The name under which a field stands; several must say the same."""
    present = [name for name in names if name in fields]
    if len({fields[name] for name in present}) > 1:
        raise GeometryInvalid(f"{' and '.join(present)} contradict each other", hint=_EXPORT_AGAIN, source=path)
    return present[0] if present else None


def _numbers(fields: dict[str, str], field: str, count: int, path: Path) -> tuple[float, ...]:
    try:
        numbers = tuple(map(float, fields[field].split()))
    except ValueError:
        numbers = ()
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        detail = f"{field} must be {count} finite number(s), is {fields[field][:120]!r}"
        raise CorruptFile(detail, hint=_EXPORT_AGAIN, source=path)
    return numbers


def _whole_number(fields: dict[str, str], field: str, path: Path) -> int:
    (number,) = _numbers(fields, field, 1, path)
    if not number.is_integer():
        raise CorruptFile(f"{field} must be a whole number, is {fields[field][:40]!r}", hint=_EXPORT_AGAIN, source=path)
    return int(number)


def _is_true(fields: dict[str, str], field: str, path: Path, *, default: bool) -> bool:
    word = fields.get(field, str(default)).lower()
    if word not in ("true", "false", "t", "f", "1", "0"):
        raise CorruptFile(f"{field} must be True or False, is {word[:20]!r}", hint=_EXPORT_AGAIN, source=path)
    return word in ("true", "t", "1")
