"""Headers that are cut, edited or strange: a typed error or a header, never another exception; only what is asked for is parsed."""

from __future__ import annotations

import io
from pathlib import Path

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileDataset

from thoracle.ct.dicom.files import StudyFile
from thoracle.ct.dicom.frames import slices_of
from thoracle.ct.dicom.header import Header, numbers, read_header, text
from thoracle.errors import CorruptFile, GeometryInvalid, ScanError, TruncatedFile

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's; read_dicom silences them


def _source(content: bytes) -> StudyFile:
    return StudyFile(label="slice.dcm", size=len(content), open=lambda: io.BytesIO(content))


def _bytes(dataset: FileDataset) -> bytes:
    file = io.BytesIO()
    dataset.save_as(file)
    return file.getvalue()


def _header(dataset: FileDataset) -> Header:
    header = read_header(_source(_bytes(dataset)))
    assert header is not None
    return header


@pytest.fixture(scope="module")
def whole(data_dir: Path) -> bytes:
    return (data_dir / "malformed" / "dicom" / "CT_small.dcm").read_bytes()


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(data=st.data())
def test_edited_headers_end_in_a_header_or_a_typed_error(whole: bytes, data: st.DataObject) -> None:
    content = bytearray(whole)
    for at in data.draw(st.lists(st.integers(128, 6400), min_size=1, max_size=8)):
        content[at] = data.draw(st.integers(0, 255))
    try:
        header = read_header(_source(bytes(content)))
        if header is not None:
            slices_of(header)
    except ScanError:
        pass


def test_every_cut_is_told(whole: bytes) -> None:
    for cut in range(400, len(whole) - 200, 997):
        with pytest.raises((TruncatedFile, CorruptFile)):
            read_header(_source(whole[:cut]))


def test_a_data_set_without_preamble_is_read(forty: list[FileDataset]) -> None:
    content = _bytes(forty[3])
    sound = read_header(_source(content))
    for bare in (content[132:], content[content.index(b"\x08\x00\x08\x00") :]):  # with file meta, and without that too
        header = read_header(_source(bare))
        assert header is not None
        assert sound is not None
        assert header.pixels is not None
        start, length = header.pixels
        assert bare[start : start + length] == forty[3].PixelData
        assert header.dataset.ImagePositionPatient == sound.dataset.ImagePositionPatient
    assert read_header(_source(b"\x08\x00\x05\x00 but no more DICOM than that")) is None
    assert read_header(_source(b"")) is None


@pytest.mark.parametrize("is_implicit", [True, False])
@pytest.mark.parametrize("more", [(), ("ImageType", "SOPInstanceUID", "StudyDate", "StudyTime", "AccessionNumber")])
def test_what_an_anonymiser_stripped_is_read_where_the_modality_is_ct(
    forty: list[FileDataset], is_implicit: bool, more: tuple[str, ...]
) -> None:
    bare = Dataset()
    for element in forty[3]:
        if element.keyword not in ("SOPClassUID", *more):
            bare.add(element)
    file = io.BytesIO()
    pydicom.dcmwrite(file, bare, implicit_vr=is_implicit, little_endian=True, enforce_file_format=False)
    content = file.getvalue()
    header = read_header(_source(content))
    assert header is not None
    assert (header.modality, header.sop_class) == ("CT", "")
    assert header.pixels is not None
    assert content[header.pixels[0] :] == forty[3].PixelData
    assert slices_of(header)[0].position.tolist() == forty[3].ImagePositionPatient
    marked = read_header(_source(bytes(128) + b"DICM" + content))  # its preamble is there, its meta header is not
    assert marked is not None
    assert marked.pixels is not None
    with pytest.raises(TruncatedFile):
        read_header(_source(content[:-9]))
    bare.Modality = "OT"
    file = io.BytesIO()
    pydicom.dcmwrite(file, bare, implicit_vr=is_implicit, little_endian=True, enforce_file_format=False)
    assert read_header(_source(file.getvalue())) is None


def test_a_header_longer_than_the_first_read_is_read(forty: list[FileDataset]) -> None:
    forty[3].ImageComments = "x" * 9000
    forty[3].add_new(0x00091010, "OB", bytes(200_000))
    assert _header(forty[3]).pixels is not None


def test_only_what_is_asked_for_is_kept(forty: list[FileDataset]) -> None:
    assert "PatientName" not in _header(forty[3]).dataset
    assert "SECRET" not in str(_header(forty[3]).dataset)


def test_fields_that_are_no_numbers_name_themselves(forty: list[FileDataset]) -> None:
    header = _header(forty[3])
    header.dataset.PixelSpacing = ["0.8", "nan"]
    with pytest.raises(GeometryInvalid, match=r"slice\.dcm: PixelSpacing must be 2 finite"):
        numbers(header.dataset, "PixelSpacing", count=2, source=header.source)
    header.dataset.Rows = None
    with pytest.raises(CorruptFile, match="Rows must be a whole number, is absent"):
        header.nonnegative_int("Rows")
    assert numbers(header.dataset, "Rows", count=1, source=header.source) is None
    header.dataset.SeriesDescription = "one\x1b[2J\r\ntwo"
    assert text(header.dataset, "SeriesDescription") == "one[2Jtwo"
