"""Commas and wrong separators in decimal strings are read where they mean one thing, and quoted where they do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

import thoracle
from tests.ct.dicom.chest_series import HU, SLICES, make_slice, offset, write_series
from thoracle.ct.dicom.decimals import parse_decimals
from thoracle.errors import CorruptFile, GeometryInvalid, ThoracleError


@pytest.mark.parametrize(
    ("written", "count", "numbers"),
    [
        ("5,0\\5,0", 2, (5, 5)),
        ("0,703125\\0,703125", 2, (0.703125, 0.703125)),
        (" ,5 \\ ,5 ", 2, (0.5, 0.5)),
        ("0.7,0.7", 2, (0.7, 0.7)),
        ("0.7;0.7", 2, (0.7, 0.7)),
        ("0,7;0,7", 2, (0.7, 0.7)),
        ("0.7/0.7", 2, (0.7, 0.7)),
        ("0.7 0.7", 2, (0.7, 0.7)),
        ("0,7, 0,7", 2, (0.7, 0.7)),
        ("-160,-160,10", 3, (-160, -160, 10)),
        ("-160.5;-160.5;10", 3, (-160.5, -160.5, 10)),
        ("-160,000\\-160,000\\10,000", 3, (-160, -160, 10)),  # 160 metres are no position
        ("1,250\\-160,5\\10,0", 3, (1.25, -160.5, 10)),  # what its neighbours use is a decimal comma
        ("1|0|0|0|1|0", 6, (1, 0, 0, 0, 1, 0)),
        ("0,999848\\0,0\\0,0\\0,0\\1,000\\0,0", 6, (0.999848, 0, 0, 0, 1, 0)),
        ("1,0E0", 1, (1,)),
        ("-1024,0", 1, (-1024,)),
    ],
)
def test_what_can_mean_one_thing(written: str, count: int, numbers: tuple[float, ...]) -> None:
    assert parse_decimals(written, count=count, largest={2: 50, 3: 10_000, 6: 1}.get(count)) == numbers


@pytest.mark.parametrize(
    ("written", "count"),
    [
        ("5,0", 2),  # 5.0 once, or 5 and 0
        ("-1,024", 1),  # 1.024 or 1024
        ("1,250\\1,500\\1,000", 3),
        ("1.024,5", 1),
        ("1,2,3", 1),
        ("160,0,160,0,10,0", 3),
        ("5.0\\5.0\\5.0", 2),
        ("five", 1),
        ("NaN\\NaN", 2),
        ("", 1),
    ],
)
def test_what_cannot(written: str, count: int) -> None:
    assert parse_decimals(written, count=count, largest={2: 50, 3: 10_000}.get(count)) is None


def _rewrite(folder: Path, before: bytes, after: bytes) -> Path:
    """Change every file's bytes, of equal length."""
    assert len(before) == len(after)
    for file in folder.iterdir():
        content = file.read_bytes()
        assert before in content
        file.write_bytes(content.replace(before, after))
    return folder


@pytest.mark.parametrize(
    ("before", "after", "keyword"),
    [
        (b"10.5\\10.5", b"10,5\\10,5", "PixelSpacing"),
        (b"10.5\\10.5", b"10.5;10.5", "PixelSpacing"),
        (b"-160.5\\-160.5\\", b"-160,5\\-160,5\\", "ImagePositionPatient"),
        (b"-1024.0", b"-1024,0", "RescaleIntercept"),
        (b"1.0\\0.0\\0.0\\0.0\\1.0\\0.0", b"1,0\\0,0\\0,0\\0,0\\1,0\\0,0", "ImageOrientationPatient"),
    ],
)
@pytest.mark.parametrize("implicit", [False, True])
def test_a_series_with_commas_is_the_series(tmp_path: Path, before: bytes, after: bytes, keyword: str, implicit: bool) -> None:
    def make(k: int) -> pydicom.FileDataset:
        ds = make_slice(k, ImagePositionPatient=[-160.5, -160.5, 19.5 * k], PixelSpacing=[10.5, 10.5])
        ds.ImageOrientationPatient, ds.RescaleIntercept = ["1.0", "0.0", "0.0", "0.0", "1.0", "0.0"], "-1024.0"
        if implicit:
            ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2"
        return ds

    pristine = thoracle.read(write_series(tmp_path / "pristine", make))
    volume = thoracle.read(_rewrite(write_series(tmp_path / "s", make), before, after))
    np.testing.assert_array_equal(volume.array, pristine.array)
    np.testing.assert_array_equal(volume.affine, pristine.affine)
    assert f"{keyword} of {SLICES} slices: comma or other separator read as meant" in volume.provenance.notes


def test_commas_in_functional_groups(tmp_path: Path) -> None:
    ds = make_slice(0, NumberOfFrames=SLICES, PixelData=b"".join(offset(k).tobytes() for k in range(SLICES)))
    measures, shared, frames = pydicom.Dataset(), pydicom.Dataset(), []
    measures.PixelSpacing = [10.5, 10.5]
    shared.PixelMeasuresSequence = [measures]
    for k in range(SLICES):
        plane, frame = pydicom.Dataset(), pydicom.Dataset()
        plane.ImagePositionPatient = [-160, -160, 20 * k]
        frame.PlanePositionSequence = [plane]
        frames.append(frame)
    ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence = [shared], frames
    volume = thoracle.read(_rewrite(write_series(tmp_path / "s", lambda _: ds, [0]), b"10.5\\10.5", b"10,5\\10,5"))
    assert volume.spacing == (10.5, 10.5, 20)
    np.testing.assert_array_equal(volume.array.T, HU)


@pytest.mark.parametrize(
    ("before", "after", "error", "quoted"),
    [
        (b"-1024.0", b"-1024,O", CorruptFile, "RescaleIntercept must be 1 finite number(s), is '-1024,O'"),
        (b"10.5\\10.5", b"10,5,10,5", GeometryInvalid, "PixelSpacing must be 2 finite number(s), is '10,5,10,5'"),
        (b"10.5\\10.5", b"1.0.5\\1.5", GeometryInvalid, r"is '1.0.5\1.5'"),
    ],
)
def test_what_stands_in_the_file_is_quoted(tmp_path: Path, before: bytes, after: bytes, error: type[ThoracleError], quoted: str) -> None:
    def make(k: int) -> pydicom.FileDataset:
        return make_slice(k, PixelSpacing=[10.5, 10.5], RescaleIntercept="-1024.0")

    folder = _rewrite(write_series(tmp_path / "s", make), before, after)
    with pytest.raises(ThoracleError) as caught:
        thoracle.read(folder)
    assert type(caught.value) is error
    assert quoted in str(caught.value)


def test_a_thousand_or_one_is_not_guessed(tmp_path: Path) -> None:
    """-1,024 is -1.024 or -1024."""
    folder = _rewrite(write_series(tmp_path / "s", lambda k: make_slice(k, RescaleIntercept="-1024.")), b"-1024.", b"-1,024")
    with pytest.raises(CorruptFile, match="is '-1,024'"):
        thoracle.read(folder)
