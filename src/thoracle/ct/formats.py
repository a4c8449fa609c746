"""Tell the format of a file, by its first bytes and, where they are silent, by its name.

DICOM without a preamble (PS3.10 wants one, old archives write none) is known by its first element alone, so that element is checked as a
whole: tag, and a value representation or a plausible length.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final, Literal

Format = Literal["dicom", "nifti", "nrrd", "metaimage", "zip", "unknown"]

#: Bytes that decide: a preamble of 128, then DICOM's magic.
HEAD_BYTES: Final = 132
NIFTI_SUFFIXES: Final = (".nii", ".nii.gz", ".hdr", ".hdr.gz", ".img", ".img.gz")
#: Only a name: a file is DICOM by its bytes.
DICOM_SUFFIXES: Final = (".dcm", ".dicom", ".ima")
#: Names of files that are scans by themselves; the `.img` of a pair is read through its `.hdr`.
SCAN_SUFFIXES: Final = (".nii", ".nii.gz", ".hdr", ".hdr.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".zip")

_NIFTI_HEADER_SIZES: Final = tuple(struct.pack(f"{order}i", size) for size in (348, 540) for order in "<>")
_NAMED: Final[tuple[tuple[Format, tuple[str, ...]], ...]] = (
    ("nifti", NIFTI_SUFFIXES),
    ("metaimage", (".mha", ".mhd")),
    ("nrrd", (".nrrd", ".nhdr")),
    ("zip", (".zip",)),
)
#: First elements of a data set without preamble, little endian: group 2 (file meta), or 8 up to Modality, which every CT has.
_FIRST_TAGS: Final = frozenset(
    struct.pack("<HH", group, element) for group, last in ((2, 0x16), (8, 0x60)) for element in (1, 5, *range(0, last + 1, 2))
)
_LONGEST_FIRST_VALUE: Final = 1024  # bytes; the longest in practice is ImageType, and a UID has 64
_UNDEFINED_LENGTH: Final = 0xFFFFFFFF  # a sequence


def detect_format(path: Path) -> Format:
    """Tell the format of a file: by content, else by a name of NIfTI, NRRD, MetaImage or zip.

    The name speaks for cut or empty files and for the raw voxels of an `.img`; never for DICOM, whose bytes are never silent.

    Raises:
        OSError: the file cannot be opened.
    """
    with path.open("rb") as file:
        format_ = content_format(file.read(HEAD_BYTES))
    name = path.name.lower()
    return format_ if format_ != "unknown" else next((named for named, suffixes in _NAMED if name.endswith(suffixes)), "unknown")


def content_format(head: bytes) -> Format:
    """Tell the format of a file by its first `HEAD_BYTES` bytes; gzip counts as NIfTI, the only format read from it."""
    if has_preamble(head):
        return "dicom"
    if head.startswith(b"NRRD"):
        return "nrrd"
    if head.startswith((*_NIFTI_HEADER_SIZES, b"\x1f\x8b")):
        return "nifti"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    if head.startswith((b"ObjectType", b"NDims")):
        return "metaimage"
    return "dicom" if _begins_data_set(head) else "unknown"


def has_preamble(head: bytes) -> bool:
    """Tell whether a file begins with DICOM's preamble, of any content, and its magic (PS3.10, 7.1)."""
    return head[128:132] == b"DICM"


def _begins_data_set(head: bytes) -> bool:
    """Tell whether bytes begin with a first element: its tag, then two capitals (explicit VR) or an even, small length (implicit)."""
    if head[:4] not in _FIRST_TAGS or len(head) < 8:
        return False
    representation, length = head[4:6], int.from_bytes(head[4:8], "little")
    if representation.isalpha() and representation.isupper():
        return True
    return length == _UNDEFINED_LENGTH or (length <= _LONGEST_FIRST_VALUE and length % 2 == 0)
