"""What each kind of file is, by its bytes first; every real file of the tests' data is counted."""

from __future__ import annotations

import struct
from collections import Counter
from pathlib import Path

import pytest

from thoracle.ct.dicom.files import study_file
from thoracle.ct.dicom.header import read_header
from thoracle.ct.formats import HEAD_BYTES, content_format, detect_format
from thoracle.errors import ScanError

_PREAMBLE = bytes(128) + b"DICM"


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (_PREAMBLE, "dicom"),
        (b"II*\0".ljust(128, b"\0") + b"DICM", "dicom"),  # a preamble may be the header of a TIFF, or anything
        (b"PK\x03\x04".ljust(128, b"\0") + b"DICM", "dicom"),
        (b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100", "dicom"),
        (b"\x08\x00\x05\x00\x0a\x00\x00\x00ISO_IR 100", "dicom"),
        (b"\x02\x00\x00\x00UL\x04\x00", "dicom"),
        (b"\x08\x00\x06\x00\xff\xff\xff\xff", "dicom"),
        (b"\x08\x00\xff\xff", "unknown"),
        (b"\x08\x00\xff\xff" + bytes(200), "unknown"),
        (b"\x02\x00\x99\x99" + bytes(200), "unknown"),
        (b"\x08\x00\x05\x00 but no more DICOM than that", "unknown"),
        (b"\x08\x00\x05\x00\x05\x00\x00\x00", "unknown"),  # values have even lengths
        (b"\x08\x00\x05\x00", "unknown"),
        (_PREAMBLE[:131], "unknown"),
        (b"notes, not an image", "unknown"),
        (b"", "unknown"),
        (struct.pack("<i", 348), "nifti"),
        (struct.pack(">i", 540), "nifti"),
        (b"\x1f\x8b\x08", "nifti"),
        (b"NRRD0004\n", "nrrd"),
        (b"ObjectType = Image\n", "metaimage"),
        (b"PK\x05\x06", "zip"),
    ],
)
def test_the_first_bytes_decide(head: bytes, expected: str) -> None:
    assert content_format(head[:HEAD_BYTES]) == expected


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("scan.dcm", b"notes", "unknown"),
        ("scan.dcm", b"", "unknown"),
        ("scan.dcm", b"NRRD0004\n", "nrrd"),
        ("scan.nii.gz", _PREAMBLE, "dicom"),
        ("scan.img", b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100", "dicom"),  # old archives name slices so
        ("scan.img", b"\x08\x00\x05\x00\x07\x00\x09\x00", "nifti"),  # raw voxels of 8, 5, 7, 9
        ("scan.IMG.gz", b"", "nifti"),
        ("scan.hdr", b"", "nifti"),
        ("scan.nhdr", b"", "nrrd"),
        ("scan.mhd", b"", "metaimage"),
        ("scan.zip", b"", "zip"),
        ("scan.nii", b"PK\x03\x04", "zip"),
    ],
)
def test_the_name_speaks_where_the_bytes_are_silent_and_never_for_dicom(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert detect_format(tmp_path / name) == expected


def test_every_real_file_is_what_it_is(data_dir: Path) -> None:
    files = [path for folder in ("dicom", "malformed", "volumes") for path in sorted((data_dir / folder).rglob("*")) if path.is_file()]
    formats = {path.relative_to(data_dir).as_posix(): detect_format(path) for path in files}
    unknown = {name for name, scan_format in formats.items() if scan_format == "unknown"}
    assert {name for name in unknown if "nifti_fuzz/crash-" not in name} == {
        "dicom/enhanced_ct/DATA_SOURCE.md",
        "malformed/dicom/no_meta.dcm",  # a stray byte stands before its first element
    }
    assert len(unknown) == 5
    for name, scan_format in formats.items():
        if name.endswith(".dcm") and name not in unknown:
            assert scan_format == "dicom", name
        if name.endswith((".nii", ".nii.gz", ".hdr.gz", ".img.gz")):
            assert scan_format == "nifti", name
    assert Counter(formats.values()) == {"dicom": 160, "nifti": 42, "unknown": 5, "nrrd": 2, "metaimage": 1}


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_header_reader_takes_exactly_the_dicom_files(data_dir: Path) -> None:
    for path in sorted((data_dir / "malformed").rglob("*")):
        if path.is_file():
            try:
                is_dicom = read_header(study_file(path)) is not None
            except ScanError:
                is_dicom = True
            assert is_dicom == (detect_format(path) == "dicom"), path.name
