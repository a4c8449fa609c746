"""Copies count once, scouts are set aside, phases and reconstructions under one UID are offered; whatever the order of the files."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset
from pydicom.uid import JPEGLSLossless

from tests.ct.dicom.conftest import SERIES_UID
from thoracle.ct.dicom.reader import read_dicom
from thoracle.ct.stored import StoredScan
from thoracle.errors import DuplicateSlices, GeometryUnknown, InputError, MixedSeries, SeriesAmbiguous, SliceGap

Slices = list[FileDataset]
Save = Callable[..., Path]


def _read(path: Path, *, series: str | None = None) -> StoredScan:
    return read_dicom(path, series=series, hu="auto", min_slices=10)


def _phase(slices: Slices, number: int, **fields: object) -> Slices:
    """The same places, other pixels and instances."""
    copies = deepcopy(slices)
    for ds in copies:
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{ds.SOPInstanceUID}.{number}"
        ds.PixelData = (ds.pixel_array + number).tobytes()
        for keyword, content in fields.items():
            setattr(ds, keyword, content(ds) if callable(content) else content)
    return copies


def _scout(ds: FileDataset, **fields: object) -> FileDataset:
    scout = deepcopy(ds)
    scout.SOPInstanceUID, scout.Rows, scout.Columns, scout.PixelData = f"{ds.SOPInstanceUID}.9", 48, 96, bytes(2 * 48 * 96)
    scout.ImageOrientationPatient, scout.ImagePositionPatient = [1, 0, 0, 0, 0, -1], [-160, 0, 300]
    for keyword, content in fields.items():
        setattr(scout, keyword, content)
    return scout


# Copies


def test_a_file_that_is_there_twice_counts_once(forty: Slices, save: Save) -> None:
    folder = save(forty)
    expected = _read(folder)
    shutil.copy(next(folder.glob("*-7.dcm")), folder / "007(1).dcm")
    scan = _read(folder)
    assert scan.sha256 == expected.sha256
    assert scan.repaired == ("files that repeat an instance, counted once: 1",)
    shutil.copytree(folder, folder / "again")
    assert _read(folder).sha256 == expected.sha256


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_instance_in_other_bytes_counts_once_whichever_is_met_first(forty: Slices, save: Save) -> None:
    copies = deepcopy(forty[5:8])
    for ds in copies:
        ds.PatientName = "ANOTHER^WORD"
    recompressed = deepcopy(forty[8])
    recompressed.compress(JPEGLSLossless, generate_instance_uid=False)
    expected = _read(save(forty, "plain"))
    hashes = set()
    for order in ([*forty, *copies, recompressed], [recompressed, *copies, *forty]):
        folder = save(order, f"order-{len(hashes)}")
        scan = _read(folder)
        np.testing.assert_array_equal(scan.voxels, expected.voxels)
        assert scan.repaired == ("files that repeat an instance, counted once: 4",)
        hashes.add(scan.sha256)
    assert len(hashes) == 1


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_instance_in_three_files_counts_once(forty: Slices, save: Save) -> None:
    """All of a patient's slices, sent again twice under other names: each is compared with one of them."""
    others = [deepcopy(ds) for ds in forty for _ in range(2)]
    for number, ds in enumerate(others):
        ds.PatientName = f"ANOTHER^{number % 2}"
    scan = _read(save([*forty, *others]))
    np.testing.assert_array_equal(scan.voxels, _read(save(forty, "plain")).voxels)
    assert scan.repaired == ("files that repeat an instance, counted once: 80",)
    others[3].PixelData = bytes(len(others[3].PixelData))
    with pytest.raises(DuplicateSlices, match=r"[12] slice"):
        _read(save([*forty, *others], "unlike"))


@pytest.mark.parametrize("change", ["pixels", "place", "rescale"])
def test_one_instance_uid_with_other_content_is_refused(forty: Slices, save: Save, change: str) -> None:
    other = deepcopy(forty[7])
    if change == "pixels":
        other.PixelData = (other.pixel_array + 1).tobytes()
    elif change == "place":
        other.ImagePositionPatient = [-100.0, -120.5, -300 + 1.25 * 40]
    else:
        other.RescaleIntercept = 0
    with pytest.raises(DuplicateSlices, match=r"1 slice\(s\) carry the SOPInstanceUID of another"):
        _read(save([*forty, other]))


def test_files_without_instance_uids_are_copies_where_their_bytes_are(forty: Slices, save: Save) -> None:
    for ds in forty:
        del ds.SOPInstanceUID
    folder = save([])
    for number, ds in enumerate([*forty, forty[3]]):
        ds.save_as(folder / str(number), enforce_file_format=False)
    scan = _read(folder)
    assert (scan.voxels.shape[2], scan.repaired) == (40, ("files that repeat an instance, counted once: 1",))


# Scouts


def test_one_or_two_scouts_of_the_same_series_are_set_aside(forty: Slices, save: Save) -> None:
    expected = _read(save(forty, "plain"))
    scan = _read(save([_scout(forty[0]), *forty], "one"))
    assert scan.sha256 == expected.sha256
    assert scan.repaired == ("set aside: 1 x scout (of another orientation or size)",)
    lateral = _scout(forty[1], ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
    scan = _read(save([*forty, lateral, _scout(forty[0])], "two"))
    assert scan.sha256 == expected.sha256
    assert scan.repaired == ("set aside: 2 x scout (of another orientation or size)",)


def test_a_scout_without_a_place_is_set_aside_and_a_slice_without_one_is_not(forty: Slices, save: Save) -> None:
    scout = _scout(forty[0])
    del scout.PixelSpacing, scout.ImagePositionPatient
    scan = _read(save([scout, *forty], "scout"))
    assert (scan.voxels.shape[2], scan.repaired) == (40, ("set aside: 1 x scout (of another size, without a place)",))
    del forty[39].ImagePositionPatient
    with pytest.raises(GeometryUnknown):
        _read(save(forty, "slice"))


def test_a_scout_of_its_own_series_is_set_aside_however_few_slices_the_other_has(forty: Slices, save: Save) -> None:
    scan = _read(save([*forty[:12], _scout(forty[0], SeriesInstanceUID="1.2.3")]))
    assert (scan.voxels.shape[2], scan.repaired) == (12, ("set aside: 1 x scout",))


def test_a_slice_whose_orientation_is_damaged_is_no_scout(forty: Slices, save: Save) -> None:
    forty[17].ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    with pytest.raises(MixedSeries):
        _read(save(forty))


# Phases and reconstructions


def _labels(folder: Path) -> list[str]:
    with pytest.raises((SeriesAmbiguous, MixedSeries)) as caught:
        _read(folder)
    assert caught.value.redacted().count("\n") == 0
    return re.findall(r"\n  \S*?(#\d.*)", str(caught.value))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ([{"AcquisitionNumber": n} for n in (2, 10)], ["AcquisitionNumber 2", "AcquisitionNumber 10"]),
        ([{"AcquisitionTime": f"1{n}0000.5"} for n in (1, 2)], ["AcquisitionTime 110000.5", "AcquisitionTime 120000.5"]),
        (
            [{"ContentTime": lambda ds, n=n: f"10{n}0{int(ds.InstanceNumber):02}"} for n in (1, 2)],
            ["ContentTime 101001", "ContentTime 102001"],
        ),
        ([{"ConvolutionKernel": kernel} for kernel in ("B30f", "B70f")], ["ConvolutionKernel B30f", "ConvolutionKernel B70f"]),
        (
            [{"ImageType": ["DERIVED", "SECONDARY", "AXIAL", "CT_SOM5 MIP"]}, {}],
            ["ImageType DERIVED\\SECONDARY\\AXIAL\\CT_SOM5 MIP", "ImageType ORIGINAL\\PRIMARY\\AXIAL"],
        ),
        ([{"TemporalPositionIdentifier": n} for n in (1, 2, 3)], [f"TemporalPositionIdentifier {n}" for n in (1, 2, 3)]),
        (
            [{}, {"ImagePositionPatient": lambda ds: [-50.0, -60.0, ds.ImagePositionPatient[2]]}],
            ["field of view 7 x 9.6 mm from -100, -120.5", "field of view 7 x 9.6 mm from -50, -60"],
        ),
    ],
)
def test_volumes_under_one_uid_are_offered_by_what_tells_them_apart(
    forty: Slices, save: Save, fields: list[dict[str, object]], said: list[str]
) -> None:
    phases = [_phase(forty, number, **changes) for number, changes in enumerate(fields, start=1)]
    everything = [ds for phase in phases for ds in phase]
    voxels = [sorted(_read(save(phase, f"alone-{n}")).voxels.ravel()) for n, phase in enumerate(phases)]
    for seed in (0, 1):
        random.Random(seed).shuffle(everything)
        folder = save(everything, f"shuffled-{seed}")
        labels = _labels(folder)
        assert [label.split("  ")[-1] for label in labels] == said
        for number in range(1, len(phases) + 1):
            scan = _read(folder, series=f"{SERIES_UID}#{number}")
            assert sorted(scan.voxels.ravel()) == voxels[number - 1]
            assert _read(folder, series=f"{SERIES_UID[:10]}#{number}").sha256 == scan.sha256
    with pytest.raises(InputError, match="has no volume #9"):
        _read(folder, series=f"{SERIES_UID}#9")


def test_two_fields_tell_four_volumes_apart_and_scouts_among_them_are_set_aside(forty: Slices, save: Save) -> None:
    phases = [
        _phase(forty, 2 * acquisition + at, AcquisitionNumber=acquisition, ConvolutionKernel=kernel)
        for acquisition in (1, 2)
        for at, kernel in enumerate(("B30f", "B70f"))
    ]
    folder = save([_scout(forty[0]), *(ds for phase in phases for ds in phase)])
    said = [label.split("  ")[-1] for label in _labels(folder)]
    assert said == [f"AcquisitionNumber {n}, ConvolutionKernel {kernel}" for n in (1, 2) for kernel in ("B30f", "B70f")]
    scan = _read(folder, series=f"{SERIES_UID}#3")
    assert scan.voxels[0, 0, 0] == 4
    assert scan.repaired == ("set aside: 1 x scout (of another orientation or size)",)


def test_two_sizes_of_equal_number_are_mixed_and_offered(forty: Slices, save: Save) -> None:
    wide = _phase(forty, 1, PixelSpacing=[0.9, 0.9])
    folder = save([*wide, *forty])
    with pytest.raises(MixedSeries, match=f"{SERIES_UID}#1.*\n.*{SERIES_UID}#2.*field of view 9 x 10.8 mm"):
        _read(folder)
    assert _read(folder, series=f"{SERIES_UID}#2").voxels[0, 0, 0] == 1


def test_halves_of_a_volume_with_a_gap_between_them_are_no_choice(forty: Slices, save: Save) -> None:
    for k, ds in enumerate(forty):
        ds.AcquisitionNumber = 1 + (k > 20)
    assert _read(save(forty, "whole")).voxels.shape[2] == 40
    with pytest.raises(SliceGap):
        _read(save([*forty[:20], *forty[21:]], "gap"))


def test_two_multiframe_files_of_one_series_are_numbered(data_dir: Path, tmp_path: Path) -> None:
    first = pydicom.dcmread(data_dir / "dicom" / "enhanced_ct" / "volume.dcm")
    second = deepcopy(first)
    second.SOPInstanceUID = second.file_meta.MediaStorageSOPInstanceUID = f"{first.SOPInstanceUID}.2"
    second.PixelData = (second.pixel_array + 1).tobytes()
    second.save_as(tmp_path / "a")
    first.save_as(tmp_path / "b")
    uid = first.SeriesInstanceUID
    with pytest.raises(SeriesAmbiguous, match=f"{uid}#2"):
        read_dicom(tmp_path, series=None, hu="auto", min_slices=7)
    scans = [read_dicom(tmp_path, series=f"{uid}#{n}", hu="auto", min_slices=7) for n in (1, 2)]
    assert int(scans[1].voxels[0, 0, 0]) - int(scans[0].voxels[0, 0, 0]) == 1
    shutil.copy(tmp_path / "a", tmp_path / "copy")
    (tmp_path / "b").unlink()
    assert read_dicom(tmp_path, series=None, hu="auto", min_slices=7).repaired == ("files that repeat an instance, counted once: 1",)
