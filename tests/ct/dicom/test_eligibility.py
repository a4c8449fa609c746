"""Which objects may be slices of a CT volume, and what is said of the others."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import ComputedRadiographyImageStorage, SecondaryCaptureImageStorage, generate_uid

from thoracle.ct.dicom.eligibility import StudyObject, derived_reason, examine, is_misnamed, rejection_reason
from thoracle.ct.dicom.files import StudyFile, study_file
from thoracle.ct.dicom.header import Header, read_header
from thoracle.errors import CorruptFile, ScanError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's; read_dicom silences them


def _header(dataset: FileDataset) -> Header:
    file = io.BytesIO()
    dataset.save_as(file)
    content = file.getvalue()
    header = read_header(StudyFile(label="slice.dcm", size=len(content), open=lambda: io.BytesIO(content)))
    assert header is not None
    return header


def _other_modality(dataset: FileDataset) -> None:
    dataset.Modality = "SEG"


def _no_modality(dataset: FileDataset) -> None:
    del dataset.Modality
    dataset.SOPClassUID = ComputedRadiographyImageStorage


def _nothing_known(dataset: FileDataset) -> None:
    del dataset.Modality
    dataset.SOPClassUID = ""
    dataset.file_meta.MediaStorageSOPClassUID = ""


def _localizer(dataset: FileDataset) -> None:
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]


def _no_pixels(dataset: FileDataset) -> None:
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.66"
    del dataset.PixelData, dataset.Rows


def _three_samples(dataset: FileDataset) -> None:
    dataset.SamplesPerPixel = 3
    dataset.PixelData = bytes(3 * len(dataset.PixelData))


def _palette(dataset: FileDataset) -> None:
    dataset.PhotometricInterpretation = "PALETTE COLOR"


def _unplaced_capture(dataset: FileDataset) -> None:
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    del dataset.ImagePositionPatient


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_other_modality, "SEG"),
        (_no_modality, "Computed Radiography Image Storage"),
        (_nothing_known, "object of no modality"),
        (_localizer, "localizer"),
        (_no_pixels, "CT object without pixels"),
        (_three_samples, "colour image"),
        (_palette, "colour image"),
        (_unplaced_capture, "secondary capture without position"),
    ],
)
def test_what_is_no_slice_is_told_why(forty: list[FileDataset], change: Callable[[FileDataset], None], reason: str) -> None:
    change(forty[0])
    assert rejection_reason(_header(forty[0])) == reason


def test_slices_are_taken_also_where_fields_that_do_not_matter_are_missing(forty: list[FileDataset]) -> None:
    assert rejection_reason(_header(forty[0])) is None
    del forty[1].Modality, forty[1].ImageType, forty[1].SamplesPerPixel, forty[1].PhotometricInterpretation
    assert rejection_reason(_header(forty[1])) is None  # the SOP class says CT
    forty[2].SOPClassUID, forty[2].SeriesInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    assert rejection_reason(_header(forty[2])) is None  # it has a position
    forty[3].PhotometricInterpretation = "MONOCHROME1"
    assert rejection_reason(_header(forty[3])) is None


def test_a_damaged_number_of_samples_is_an_error(forty: list[FileDataset]) -> None:
    header = _header(forty[0])
    header.dataset.SamplesPerPixel = None
    assert rejection_reason(header) is None
    header.dataset["SamplesPerPixel"].value = -1
    with pytest.raises(CorruptFile, match="SamplesPerPixel"):
        rejection_reason(header)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"ImageType": ["DERIVED", "SECONDARY", "AXIAL", "CT_SOM5 MIP"]}, "maximum intensity projection"),
        ({"ImageType": ["DERIVED", "SECONDARY", "MPR"]}, "reformatted image"),
        ({"ImageType": ["DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"]}, "reformatted image"),
        ({"ImageType": ["DERIVED", "PRIMARY", "VOLUME", "MIN_IP"]}, "minimum intensity projection"),
        ({"ImageType": ["DERIVED", "SECONDARY", "PROJECTION IMAGE"]}, "projection image"),
        ({"ImageType": ["DERIVED", "SECONDARY", "AXIAL"], "SeriesDescription": "Thorax cor_MPR3 3.0"}, "reformatted image"),
        ({"ImageType": ["DERIVED", "SECONDARY"], "DerivationDescription": "10 mm MIPs"}, "maximum intensity projection"),
        ({"ImageType": ["DERIVED", "SECONDARY", "OTHER"], "ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, "reformatted image"),
        ({"RescaleType": "Z_EFF"}, "RescaleType Z_EFF"),
        ({"RescaleType": "MGML"}, "RescaleType MGML"),
        ({"RescaleType": "HU"}, None),
        ({"RescaleType": "US"}, None),
        ({}, None),
        ({"ImageType": ["DERIVED", "PRIMARY", "AXIAL"]}, None),  # compressed with loss
        ({"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"], "SeriesDescription": "for MPR 1.0 B31f"}, None),
        ({"ImageType": ["DERIVED", "SECONDARY", "AXIAL"], "SeriesDescription": "Champion, compressed"}, None),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, None),
    ],
)
def test_derived_images_are_told_from_reconstructions(forty: list[FileDataset], fields: dict[str, object], reason: str | None) -> None:
    for keyword, content in fields.items():
        setattr(forty[0], keyword, content)
    assert derived_reason(_header(forty[0])) == reason


def test_frames_in_other_units_are_derived(forty: list[FileDataset]) -> None:
    groups, transformation = Dataset(), Dataset()
    transformation.RescaleType = "EDW"
    groups.PixelValueTransformationSequence = [transformation]
    forty[0].SharedFunctionalGroupsSequence = [groups]
    assert derived_reason(_header(forty[0])) == "RescaleType EDW"


def _examined(content: bytes) -> StudyObject | None:
    return examine(StudyFile(label="slice", size=len(content), open=lambda: io.BytesIO(content)))


def _bytes(dataset: FileDataset) -> bytes:
    file = io.BytesIO()
    dataset.save_as(file)
    return file.getvalue()


def test_the_series_of_a_damaged_file_is_told_wherever_the_damage_lies_behind_its_uid(forty: list[FileDataset]) -> None:
    content = _bytes(forty[5])
    uid = forty[5].SeriesInstanceUID
    end = content.index(b"\x20\x00\x0e\x00UI") + 8 + len(uid) + len(uid) % 2
    for cut in range(300, len(content)):
        member = _examined(content[:cut])
        assert member is not None
        assert member.error is not None
        assert member.series == (uid if cut >= end else None), cut  # a UID that is cut is no UID


def test_what_a_file_is(forty: list[FileDataset]) -> None:
    member = _examined(_bytes(forty[5]))
    assert member is not None
    assert (member.series, member.header is not None, member.rejection, member.error) == (forty[5].SeriesInstanceUID, True, None, None)
    forty[5].Modality = "PR"
    member = _examined(_bytes(forty[5]))
    assert member is not None
    assert (member.series, member.header, member.rejection, member.error) == (forty[5].SeriesInstanceUID, None, "PR", None)
    assert _examined(b"not DICOM") is None
    assert [is_misnamed(name) for name in ("a.dcm", "A.IMA", "._a.dcm", "a.txt")] == [True, True, False, False]


def _reason(path: Path) -> str | None:
    try:
        header = read_header(study_file(path))
    except ScanError as error:
        return type(error).__name__
    return "not DICOM" if header is None else rejection_reason(header)


def test_every_real_object_is_taken_or_told_why(data_dir: Path) -> None:
    files = [path for folder in ("dicom", "malformed/dicom") for path in sorted((data_dir / folder).rglob("*.dcm"))]
    mr = {
        *("dicom/irregular/slicecount/001/IM-0001-0001-0001.dcm", "dicom/irregular/slicecount/001/IM-0001-0002-0001.dcm"),
        *("dicom/irregular/sliceorientation/001/IM-0001-0001-0001 2.dcm", "dicom/irregular/sliceorientation/001/IM-0001-0001-0001.dcm"),
        *("dicom/irregular/sliceorientation/001/IM-0001-0002-0001 2.dcm", "dicom/irregular/sliceorientation/001/IM-0001-0002-0001.dcm"),
        *("malformed/dicom/MR_truncated.dcm", "malformed/dicom/emri_small_jpeg_2k_lossless_too_short.dcm"),
    }
    expected = dict.fromkeys(mr, "MR") | {
        "malformed/dicom/JPEG2000-embedded-sequence-delimiter.dcm": "NM",
        "malformed/dicom/badVR.dcm": "RTDOSE",
        "malformed/dicom/meta_missing_tsyntax.dcm": "CorruptFile",
        "malformed/dicom/no-pixel-data.dcm": "SR",
        "malformed/dicom/no-pixel-spacing.dcm": "US",
        "malformed/dicom/no_meta.dcm": "not DICOM",
        "malformed/dicom/no_meta_group_length.dcm": "RT Image Storage",
        "malformed/dicom/rtplan_truncated.dcm": "RTPLAN",
    }
    reasons = {path.relative_to(data_dir).as_posix(): _reason(path) for path in files}
    assert {name: reason for name, reason in reasons.items() if reason is not None} == expected
    assert len(reasons) == len(expected) + 145
