"""Multi-frame files made by highdicom from a classic series give what the classic series gives, and are refused for the same reasons."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from highdicom.legacy import LegacyConvertedEnhancedCTImage
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import EnhancedCTImageStorage

from thoracle.ct.dicom.reader import read_dicom
from thoracle.ct.stored import StoredScan
from thoracle.errors import (
    BudgetExceeded,
    CorruptFile,
    DuplicateSlices,
    GantryTilt,
    GeometryInvalid,
    GeometryUnknown,
    RescaleMissing,
    SeriesAmbiguous,
    SliceGap,
    ThoracleError,
    TooFewSlices,
)


def _read(path: Path, *, min_slices: int = 10) -> StoredScan:
    return read_dicom(path, series=None, hu="auto", min_slices=min_slices)


def _enhanced(classic: list[FileDataset]) -> Dataset:
    for ds in classic:
        ds.pop("ContrastBolusAgent", None)
    image = LegacyConvertedEnhancedCTImage(classic, "1.2.826.0.1.3680043.10.999.8", 4, "1.2.826.0.1.3680043.10.999.9", 1)
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    return image


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_whole_chest_as_enhanced_ct_is_the_classic_series(data_dir: Path, tmp_path: Path) -> None:
    folder = data_dir / "dicom" / "cip_ct64"
    slices = [pydicom.dcmread(f) for f in folder.iterdir()]
    _enhanced(slices).save_as(tmp_path / "enhanced.dcm")
    classic, enhanced = _read(folder), _read(tmp_path / "enhanced.dcm")
    np.testing.assert_array_equal(enhanced.voxels, classic.voxels)
    np.testing.assert_allclose(enhanced.affine, classic.affine, atol=1e-9)  # type: ignore[arg-type]
    assert enhanced.rescale == classic.rescale
    assert enhanced.format == "DICOM multi-frame"
    volume = highdicom.imread(tmp_path / "enhanced.dcm").get_volume(apply_real_world_transform=False, rtol=1e-2)
    for i, j, k in ((0, 0, 0), (3, 5, 7), (63, 0, 78)):  # highdicom counts slices from the other end
        np.testing.assert_allclose(enhanced.affine @ [i, j, k, 1], volume.affine @ [78 - k, j, i, 1], atol=1e-2)
        assert enhanced.voxels[i, j, k] == volume.array[78 - k, j, i]


def test_a_real_multiframe_file_is_its_classic_slices(data_dir: Path, tmp_path: Path) -> None:
    folder = data_dir / "dicom" / "enhanced_ct"
    multiframe = _read(folder / "volume.dcm", min_slices=7)
    classic = tmp_path / "classic"
    classic.mkdir()
    for k in range(1, 8):
        (classic / str(k)).write_bytes((folder / f"slice{k}.dcm").read_bytes())
    slices = _read(classic, min_slices=7)
    np.testing.assert_array_equal(multiframe.voxels, slices.voxels)
    np.testing.assert_allclose(multiframe.affine, slices.affine)  # type: ignore[arg-type]
    assert multiframe.rescale == slices.rescale
    assert multiframe.tags.kernel == slices.tags.kernel == "B60s"
    with pytest.raises(TooFewSlices, match="has 7 slice"):
        _read(folder / "volume.dcm")


def _frame(image: Dataset, k: int, macro: str) -> Dataset:
    return image.PerFrameFunctionalGroupsSequence[k][macro].value[0]


def _tilt(image: Dataset) -> None:
    for k in range(40):
        _frame(image, k, "PlanePositionSequence").ImagePositionPatient[1] += 0.3 * k


def _drop(image: Dataset) -> None:
    del image.PerFrameFunctionalGroupsSequence[17]
    image.NumberOfFrames = 39
    image.PixelData = image.PixelData[: 39 * 240]


def _lose(macro: str) -> Callable[[Dataset], None]:
    def damage(image: Dataset) -> None:
        for groups in (*image.PerFrameFunctionalGroupsSequence, *image.SharedFunctionalGroupsSequence):
            groups.pop(macro, None)

    return damage


DAMAGE: dict[str, tuple[Callable[[Dataset], None], type[ThoracleError]]] = {
    "tilt": (_tilt, GantryTilt),
    "gap": (_drop, SliceGap),
    "equal positions": (
        lambda im: setattr(_frame(im, 5, "PlanePositionSequence"), "ImagePositionPatient", [-100, -120.5, -300]),
        DuplicateSlices,
    ),
    "NaN": (
        lambda im: setattr(_frame(im, 5, "PlanePositionSequence"), "ImagePositionPatient", ["nan", "0", "0"]),
        GeometryInvalid,
    ),
    "no positions": (_lose("PlanePositionSequence"), GeometryUnknown),
    "no orientation": (_lose("PlaneOrientationSequence"), GeometryUnknown),
    "no spacing": (_lose("PixelMeasuresSequence"), GeometryUnknown),
    "no rescale": (_lose("PixelValueTransformationSequence"), RescaleMissing),
    "frames and descriptions differ": (lambda im: setattr(im, "NumberOfFrames", 41), CorruptFile),
    "frames without number": (lambda im: setattr(im, "NumberOfFrames", 0), CorruptFile),
    "too many frames": (lambda im: setattr(im, "NumberOfFrames", 100_000), BudgetExceeded),
}


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_each_damage_to_forty_frames_is_refused(forty: list[FileDataset], tmp_path: Path, kind: str) -> None:
    damage, expected = DAMAGE[kind]
    image = _enhanced(forty)
    image.save_as(tmp_path / "sound.dcm")
    assert _read(tmp_path / "sound.dcm").voxels.shape == (10, 12, 40)
    damage(image)
    image.save_as(tmp_path / "damaged.dcm")
    with pytest.raises(ThoracleError) as caught:
        _read(tmp_path / "damaged.dcm")
    assert type(caught.value) is expected
    assert "SECRET" not in str(caught.value)


# Volumes in one file


def _say(groups: Dataset, macro: str, **fields: object) -> None:
    if macro not in groups:
        setattr(groups, macro, [Dataset()])
    holder = groups[macro].value[0]
    for keyword, content in fields.items():
        setattr(holder, keyword, content)


def _cardiac(groups: Dataset, phase: int) -> None:
    _say(groups, "CardiacSynchronizationSequence", NominalPercentageOfCardiacPhase=40.0 + 30 * phase)


SAYINGS: dict[str, Callable[[Dataset, int], None]] = {
    "TemporalPositionIdentifier": lambda groups, phase: _say(groups, "FrameContentSequence", TemporalPositionIndex=phase + 1),
    "AcquisitionNumber": lambda groups, phase: _say(groups, "FrameContentSequence", FrameAcquisitionNumber=phase + 1),
    "StackID": lambda groups, phase: _say(groups, "FrameContentSequence", StackID=str(phase)),
    "ImageType": lambda groups, phase: _say(
        groups, "CTImageFrameTypeSequence", FrameType=["ORIGINAL", "PRIMARY", "VOLUME", ("MAXIMUM", "NONE")[phase]]
    ),
    "ConvolutionKernel": lambda groups, phase: _say(groups, "CTReconstructionSequence", ConvolutionKernel=("B30f", "B70f")[phase]),
    "TemporalPositionTimeOffset": lambda groups, phase: _say(groups, "TemporalPositionSequence", TemporalPositionTimeOffset=1.5 * phase),
    "NominalPercentageOfCardiacPhase": _cardiac,
    "KVP": lambda groups, phase: _say(groups, "UnassignedPerFrameConvertedAttributesSequence", KVP=80 + 60 * phase),
}


def _two_phases(forty: list[FileDataset], say: Callable[[Dataset, int], None], *, second: int = 40) -> Dataset:
    """Frames in turn of two volumes, of which the second is 7 higher, or has its first slices alone."""
    image = _enhanced(forty)
    first, frames, pixels = list(image.PerFrameFunctionalGroupsSequence), [], []
    planes = image.pixel_array
    for k, groups in enumerate(first):
        for phase in (0, 1)[: 1 + (k < second)]:
            frames.append(deepcopy(groups))
            say(frames[-1], phase)
            pixels.append(planes[k] + 7 * phase)
    image.PerFrameFunctionalGroupsSequence, image.NumberOfFrames, image.PixelData = frames, len(frames), np.stack(pixels).tobytes()
    return image


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("field", SAYINGS)
def test_phases_in_one_file_are_offered_and_each_is_read(forty: list[FileDataset], tmp_path: Path, field: str) -> None:
    path = tmp_path / "phases.dcm"
    image = _two_phases(forty, SAYINGS[field])
    image.save_as(path)
    uid = image.SeriesInstanceUID
    offer = rf"2 volumes.*what differs is {field}.*\n.*{uid}#1.*40 slices.*\n.*{uid}#2.*40 slices"
    with pytest.raises(SeriesAmbiguous, match=offer) as refusal:
        _read(path)
    assert str(uid) not in refusal.value.redacted()
    assert "UID#1 to UID#2" in refusal.value.redacted()
    _enhanced(forty).save_as(tmp_path / "one.dcm")
    one = _read(tmp_path / "one.dcm")
    phases = [read_dicom(path, series=f"{uid}#{number}", hu="auto", min_slices=10) for number in (1, 2)]
    for phase, scan in enumerate(phases):
        np.testing.assert_array_equal(scan.voxels, one.voxels + 7 * phase)
        np.testing.assert_allclose(scan.affine, one.affine)  # type: ignore[arg-type]
    assert len({scan.sha256 for scan in (*phases, one)}) == 3, "volumes of one file are scans of their own"


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_refusal_of_frames_at_one_place_names_what_differs(forty: list[FileDataset], tmp_path: Path) -> None:
    path = tmp_path / "part.dcm"
    _two_phases(forty, SAYINGS["AcquisitionNumber"], second=2).save_as(path)
    with pytest.raises(DuplicateSlices, match=r"2 of 42 slices lie where another does.*they differ in AcquisitionNumber"):
        _read(path)
    _two_phases(forty, lambda groups, phase: None).save_as(path)
    with pytest.raises(DuplicateSlices, match=r"40 of 80.*they differ in their pixels at most"):
        _read(path)
