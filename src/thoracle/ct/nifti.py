"""NIfTI-1 and NIfTI-2 files and pairs, plain or gzip: from a header that is checked against itself to voxels as stored.

The header is nibabel's; it is read without nibabel's repairs, which turn a spacing of zero into 1 mm without a word.
Units, orientation and the number of slices are judged elsewhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from nibabel.nifti1 import Nifti1Header, intent_codes, unit_codes
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError

from thoracle.ct.byte_streams import Stream, codec_of, decompress_into, read_prefix
from thoracle.ct.geometry.header import BLANK, is_blank, millimetres_per
from thoracle.ct.stored import Rescale, StoredScan
from thoracle.errors import CorruptFile, GeometryInvalid, GeometryUnknown, NotCT, TruncatedFile, UnsupportedFormat
from thoracle.types import Affine

_HEAD_BYTES = Nifti2Header.sizeof_hdr
_KINDS: Final[dict[str, Any]] = {"NIfTI-1": Nifti1Header, "NIfTI-2": Nifti2Header}
_PAIR_NAME = re.compile(r"\.(hdr|img)(\.gz)?$", re.IGNORECASE)
_CT_INTENTS = (0, 1011)  # none, dimensionless; every other says that the voxels are something else (nifti1.h)
_MILLIMETRES = (0, 2)  # unknown, which is taken as mm as everywhere, and mm
_RAS_TO_LPS = np.array([[-1.0], [-1.0], [1.0], [1.0]])  # signs of the rows
_SPACING_AGREES = 1e-3  # relative; float32 rounds by 1e-7, and a mean step of slices differs from the nominal one by less
_PLACES_AGREE = 1.0  # mm at the corners; a quaternion stored in float32 turns a chest by up to 0.3 mm
_SQUARE = 1e-3  # cosine between axes; beyond it the axes are sheared, which a quaternion cannot say
_EXPORT_AGAIN = "Export the scan again from its source."


@dataclass(frozen=True, kw_only=True)
class _File:
    """A parsed header and the files it speaks of; they are one and the same unless they are a pair."""

    format: str
    header: Any
    path: Path
    image: Path

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path,) if self.path == self.image else (self.path, self.image)


def read_nifti(path: Path, *, image: Path | None = None) -> StoredScan:
    """Read a `.nii`, a `.hdr/.img` pair by either name, or either of them in gzip; content decides, the name is a hint.

    The SHA-256 is over the file's bytes, of a pair over those of the header and then those of the image.

    Args:
        path: of the file, or of one of a pair.
        image: the image of a pair where it is known, in place of the one of the same name; `path` is then the header.

    Raises:
        UnsupportedFormat: not NIfTI.
        CorruptFile: cut, damaged, or a header that contradicts itself or the voxels.
        NotCT: not three real dimensions, colour, complex, or a declared map of something else.
        GeometryUnknown: ANALYZE 7.5, which has no orientation.
        GeometryInvalid: spacing of zero, other units than mm, or two geometries that disagree.
    """
    file = _open(path, image)
    shape, repaired = _shape(file)
    dtype = _dtype(file)
    affine, geometry, placed = _affine(file)
    blank = affine is not None and _unit(file) in _MILLIMETRES and is_blank(affine)
    rescale = _rescale(file)
    stream = Stream(path=file.image, codec=codec_of(file.image), payload_offset=_offset(file))
    voxels, digest, notes = decompress_into(stream, shape=shape, dtype=dtype, hashed=file.files)
    return StoredScan(
        voxels=voxels,
        affine=None if blank else affine,
        geometry=BLANK if blank else geometry,
        rescale=rescale,
        format=file.format,
        sha256=digest,
        repaired=repaired + placed + notes,
        blank=affine if blank else None,
    )


def image_names(name: str) -> tuple[str, ...]:
    """List what the image of a pair may be called, likeliest first, by the name of its header; none of a name that is no header's."""
    match = _PAIR_NAME.search(name)
    return _partner_names(name, "img") if match and match[1].lower() == "hdr" else ()


def _open(path: Path, image: Path | None) -> _File:
    header_path = path
    if image is None and (match := _PAIR_NAME.search(path.name)) and match[1].lower() == "img":
        header_path = _partner(path, "hdr") or path
    head = read_prefix(header_path, _HEAD_BYTES)
    if len(head) < Nifti1Header.sizeof_hdr:
        detail = f"holds {len(head)} bytes, a NIfTI header alone takes {Nifti1Header.sizeof_hdr}"
        raise TruncatedFile(detail, hint="Copy or download the file again.", source=header_path)
    for name, kind in _KINDS.items():
        for order in "<>":
            block = head[: kind.sizeof_hdr].ljust(kind.sizeof_hdr, b"\0")
            header = kind(block, endianness=order, check=False)
            if int(header["sizeof_hdr"]) == kind.sizeof_hdr:
                return _file(name, header, header_path, image)
    raise UnsupportedFormat(
        "is not NIfTI: its first four bytes are not the size of a NIfTI header",
        hint="Give a NIfTI, NRRD or DICOM scan; unpack other archives first.",
        source=header_path,
    )


def _file(name: str, header: Any, path: Path, image: Path | None) -> _File:
    """One file or a pair, by the magic bytes."""
    magic = header["magic"].item()
    if magic == header.single_magic:
        return _File(format=name, header=header, path=path, image=path)
    if magic == header.pair_magic:
        image = image or _partner(path, "img")
        if image is None:
            detail = "is the header of a pair, and no .img or .img.gz of the same name lies beside it"
            raise TruncatedFile(detail, hint="Put the .img file into the same folder.", source=path)
        return _File(format=f"{name} pair", header=header, path=path, image=image)
    if image is not None or _PAIR_NAME.search(path.name):
        detail = "is an ANALYZE 7.5 header, which does not say where left and right are"
        raise GeometryUnknown(detail, hint="Convert the scan to NIfTI from its source.", source=path)
    raise CorruptFile(f"has no NIfTI magic bytes: {magic!r}", hint=_EXPORT_AGAIN, source=path)


def _partner(path: Path, extension: str) -> Path | None:
    """The other file of a pair, in the same folder, packed like this one or not."""
    return next((path.with_name(name) for name in _partner_names(path.name, extension) if path.with_name(name).is_file()), None)


def _partner_names(name: str, extension: str) -> tuple[str, ...]:
    stem, gz = _PAIR_NAME.sub("", name), name.lower().endswith(".gz")
    return tuple(f"{stem}.{written}{packed}" for packed in sorted(("", ".gz"), reverse=gz) for written in (extension, extension.upper()))


def _shape(file: _File) -> tuple[tuple[int, ...], tuple[str, ...]]:
    axes, *sizes = (int(n) for n in file.header["dim"])
    if not 1 <= axes <= 7 or min(sizes[:axes]) < 1:
        raise CorruptFile(f"dim is {[axes, *sizes]}: not the sizes of 1 to 7 axes", hint=_EXPORT_AGAIN, source=file.path)
    shape = tuple(sizes[:axes])
    written = "x".join(map(str, shape))
    if axes < 3 or any(n > 1 for n in shape[3:]):
        detail = f"has {axes} dimensions ({written}), a CT volume has 3"
        raise NotCT(detail, hint="Give one volume; split a series of them first.", source=file.path)
    return shape[:3], (f"dropped axes of size 1 ({written})",) if axes > 3 else ()


def _dtype(file: _File) -> np.dtype[Any]:
    intent = int(file.header["intent_code"])
    if intent not in _CT_INTENTS:
        name = intent_codes.label.get(intent, intent)
        raise NotCT(f"its intent_code says that it is no scan but: {name}", hint="Give the CT itself.", source=file.path)
    kind = file.header.get_value_label("datatype")
    try:
        dtype: np.dtype[Any] = file.header.get_data_dtype()
    except KeyError as error:
        raise CorruptFile(f"datatype is none of NIfTI's: {kind}", hint=_EXPORT_AGAIN, source=file.path) from error
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        detail = f"its voxels are of type {kind}; those of CT are integers or floats of up to 64 bits"
        raise NotCT(detail, hint="Give the CT itself.", source=file.path)
    return dtype


def _offset(file: _File) -> int:
    offset = float(file.header["vox_offset"])
    first = file.header.single_vox_offset if file.path == file.image else 0
    if not (offset >= first and offset.is_integer()):
        detail = f"vox_offset must be a whole number from {first}, is {offset:g}"
        raise CorruptFile(detail, hint=_EXPORT_AGAIN, source=file.path)
    return int(offset)


def _rescale(file: _File) -> Rescale | None:
    try:
        slope, intercept = file.header.get_slope_inter()
    except HeaderDataError as error:
        raise CorruptFile(f"scl_slope and scl_inter contradict each other ({error})", hint=_EXPORT_AGAIN, source=file.path) from error
    if slope is None or (slope, intercept) == (1.0, 0.0):
        return None
    return Rescale(slope=slope, intercept=intercept, source="scl_slope/scl_inter")


@np.errstate(invalid="ignore", over="ignore", divide="ignore")  # damaged numbers are judged, not warned of
def _affine(file: _File) -> tuple[Affine | None, str, tuple[str, ...]]:
    """The LPS affine in mm, the fields that gave it, and what was made of them; no affine where the header is silent."""
    header = file.header
    spacing = header["pixdim"][1:4].astype(np.float64)
    if not (np.isfinite(spacing).all() and (spacing > 0).all()):
        raise _invalid(f"pixdim must be millimetres above zero, is {spacing.tolist()}", file)
    sform = header.get_sform() if int(header["sform_code"]) > 0 else None
    qform = _qform(file) if int(header["qform_code"]) > 0 else None
    notes: tuple[str, ...] = ()
    unit = _unit(file)
    if unit not in _MILLIMETRES:
        sizes, word = tuple(int(n) for n in header["dim"][1:4]), str(unit_codes.label.get(unit, unit))
        factor = millimetres_per(word, spacing, sizes, field="xyzt_units", source=file.path)
        spacing, sform, qform = spacing * factor, _scaled(sform, factor), _scaled(qform, factor)
        notes = (f"lengths in {word} (xyzt_units) turned to mm",)
    affine, name = (sform, "sform") if sform is not None else (qform, "qform")
    if affine is None:
        return None, "neither sform nor qform", notes
    if sform is not None and _is_square(sform):
        notes += _require_agreement(file, sform, qform, spacing)
    return _RAS_TO_LPS * affine + 0.0, name, notes  # + 0.0: no minus zeros


def _unit(file: _File) -> int:
    return int(file.header["xyzt_units"]) % 8


def _scaled(affine: Affine | None, factor: float) -> Affine | None:
    return None if affine is None else affine * np.array([factor, factor, factor, 1.0])[:, None]


def _qform(file: _File) -> Affine:
    header = file.header.copy()
    if float(header["pixdim"][0]) == 0:
        header["pixdim"][0] = 1  # nifti1.h: "if qfac = 0, treat it as 1"
    try:
        return np.asarray(header.get_qform(), np.float64)
    except (HeaderDataError, ValueError) as error:
        raise _invalid(f"qform is not a rotation ({error})", file) from error


def _is_square(affine: Affine) -> bool:
    """Finite, regular and not sheared; what is not, the judgement of geometry refuses by its own name."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not (np.isfinite(affine).all() and (lengths > 0).all()):
        return False
    cosines = affine[:3, :3] / lengths
    return bool(np.abs(cosines.T @ cosines - np.eye(3)).max() < _SQUARE)


def _require_agreement(file: _File, sform: Affine, qform: Affine | None, spacing: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[str, ...]:
    """Compare steps and directions; origins enter no result, so that another one is only noted."""
    lengths = np.linalg.norm(sform[:3, :3], axis=0)
    if not np.allclose(lengths, spacing, rtol=_SPACING_AGREES, atol=0):
        raise _invalid(f"sform has steps of {lengths.round(6).tolist()} mm, pixdim says {spacing.round(6).tolist()}", file)
    if qform is None:
        return ()
    corners = np.array(np.meshgrid(*((0, int(n) - 1) for n in file.header["dim"][1:4]))).reshape(3, 8)
    apart = float(np.abs((sform - qform)[:3, :3] @ corners).max())
    if not (apart <= _PLACES_AGREE and np.isfinite(qform).all()):
        raise _invalid(f"sform and qform place the volume's corners {apart:.1f} mm apart", file)
    offset = float(np.abs((sform - qform)[:3, 3]).max())
    return (f"sform and qform differ by a translation of {offset:.4g} mm: sform taken",) if offset > _PLACES_AGREE else ()


def _invalid(detail: str, file: _File) -> GeometryInvalid:
    return GeometryInvalid(detail, hint="The header is damaged: convert the scan again from its source.", source=file.path)
