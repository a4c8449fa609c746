"""One candidate is taken, the only axial CT of twenty slices is taken and said, everything else is listed and asked back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import FileDataset

from thoracle.ct.dicom.reader import read_dicom
from thoracle.ct.stored import StoredScan
from thoracle.errors import InputError, NotCT, SeriesAmbiguous, TooFewSlices

Slices = list[FileDataset]
Save = Callable[..., Path]


def _read(path: Path, *, series: str | None = None, min_slices: int = 10) -> StoredScan:
    return read_dicom(path, series=series, hu="auto", min_slices=min_slices)


def _as_series(slices: Sequence[FileDataset], uid: str, **fields: object) -> Slices:
    for ds in slices:
        ds.SeriesInstanceUID = uid
        for keyword, value in fields.items():
            setattr(ds, keyword, value)
    return list(slices)


def test_the_only_axial_ct_of_twenty_slices_is_taken_and_said(forty: Slices, save: Save) -> None:
    coronal = {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}
    _as_series(forty[20:30], "1.2.3", **coronal)
    _as_series(forty[30:], "1.2.4")
    scan = _read(save(forty))
    assert scan.voxels.shape[2] == 20
    assert scan.repaired == ("1 of 3 series: the only axial CT with 20 slices or more",)


def test_two_of_them_are_listed_with_what_tells_them_apart(forty: Slices, save: Save) -> None:
    _as_series(forty[:20], "1.2.30", SeriesDescription="Lung\x1b[31m", ConvolutionKernel="B70f")
    _as_series(forty[20:], "1.2.31", SeriesDescription="Soft")
    folder = save(forty)
    with pytest.raises(SeriesAmbiguous) as caught:
        _read(folder)
    said = str(caught.value)
    assert "\n  1.2.30  Lung[31m  kernel B70f  20 slices  0.7 x 0.8 x 1.25 mm" in said  # no escape sequence reaches a terminal
    assert "\n  1.2.31  Soft  kernel B30f  20 slices  0.7 x 0.8 x 1.25 mm" in said
    assert "--series" in said
    assert "SECRET" not in said
    assert _read(folder, series="1.2.31").affine[2, 3] == -275  # type: ignore[index]
    assert _read(folder, series="1.2.30").affine[2, 3] == -300  # type: ignore[index]


def test_a_prefix_must_be_unique_and_a_whole_uid_wins(forty: Slices, save: Save) -> None:
    _as_series(forty[:20], "1.2.3")
    _as_series(forty[20:], "1.2.31")
    folder = save(forty)
    with pytest.raises(SeriesAmbiguous, match="2 series"):
        _read(folder, series="1.2")
    assert _read(folder, series="1.2.3").affine[2, 3] == -300  # type: ignore[index]
    with pytest.raises(InputError, match=r"no CT series begins with 1\.5") as caught:
        _read(folder, series="1.5")
    assert "1.2.31" in str(caught.value)


def test_a_single_series_is_taken_however_small(forty: Slices, save: Save) -> None:
    assert _read(save(forty[:12])).voxels.shape[2] == 12
    with pytest.raises(TooFewSlices):
        _read(save(forty[:9], "nine"))


def test_what_is_no_slice_is_set_aside_and_said(forty: Slices, save: Save) -> None:
    _as_series(forty[:1], "1.2.1", Modality="SEG")
    _as_series(forty[1:3], "1.2.2", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    _as_series(forty[3:4], "1.2.3", SamplesPerPixel=3)
    del forty[3].PixelData
    forty[3].PixelData = bytes(720)
    _as_series(forty[4:5], "1.2.4", SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    del forty[4].ImagePositionPatient
    _as_series(forty[5:6], "1.2.5", SOPClassUID="1.2.840.10008.5.1.4.1.1.66")
    del forty[5].PixelData, forty[5].Rows
    scan = _read(save(forty))
    assert scan.voxels.shape[2] == 34
    assert scan.repaired == (
        "set aside: 1 x CT object without pixels, 1 x SEG, 1 x colour image, 2 x localizer, 1 x secondary capture without position",
    )
    with pytest.raises(NotCT, match="1 x SEG, 2 x localizer"):
        _read(save(forty[:3], "none"))


def test_one_uid_in_two_forms_is_ambiguous_until_one_is_chosen(data_dir: Path) -> None:
    folder, uid = data_dir / "dicom" / "enhanced_ct", "1.3.12.2.1107.5.1.4.60204.30000017090505121140500010286"
    for wanted in (None, uid):
        with pytest.raises(SeriesAmbiguous, match=f"{uid}#1.*\n.*{uid}#2.*7 slices, multi-frame"):
            _read(folder, series=wanted)
    classic, multiframe = (_read(folder, series=f"{uid}#{number}", min_slices=7) for number in (1, 2))
    assert (classic.format, multiframe.format) == ("DICOM series", "DICOM multi-frame")
    np.testing.assert_array_equal(classic.voxels, multiframe.voxels)
    with pytest.raises(InputError, match="has no volume #3"):
        _read(folder, series=f"{uid}#3")
