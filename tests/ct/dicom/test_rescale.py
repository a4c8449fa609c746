"""Slices that lost their slope or intercept are named; those that scale differently in earnest are not; other units are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset

import thoracle
from tests.ct.dicom.chest_series import HU, SLICES, make_slice, offset, write_series
from thoracle.errors import HounsfieldUnknown, RescaleMissing


def _units(folder: Path, **options: object) -> NDArray[np.generic]:
    return thoracle.read(folder, **options).array.transpose(2, 1, 0)  # type: ignore[arg-type]


# Lost by an export


@pytest.mark.parametrize(
    ("lost", "named"),
    [
        ([7], "8"),
        ([0], "1"),
        ([SLICES - 1], "12"),
        ([3, 4, 5], "4 to 6"),
        ([0, 2, 4, 6], "1, 3, 5, 7"),
        ([2, 3, 4, 5, 9], "3 to 6, 10"),
    ],
)
def test_slices_that_lost_their_intercept_are_named(tmp_path: Path, lost: list[int], named: str) -> None:
    folder = write_series(tmp_path / "s", lambda k: make_slice(k, RescaleIntercept=0 if k in lost else -1024))
    with pytest.raises(HounsfieldUnknown, match=f"units of slice {named} of 12 lie one rescale off"):
        thoracle.read(folder)


def test_what_the_user_states_is_not_questioned(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", lambda k: make_slice(k, RescaleIntercept=0 if k == 7 else -1024))
    np.testing.assert_array_equal(_units(folder, hu="rescale")[7], HU[7] + 1024)
    np.testing.assert_array_equal(_units(folder, hu="stored")[6], offset(6))


def test_the_order_of_files_does_not_matter(tmp_path: Path) -> None:
    """Slices are counted in the order of their positions."""
    folder = write_series(tmp_path / "s", lambda k: make_slice(SLICES - 1 - k, RescaleIntercept=0 if SLICES - 1 - k == 2 else -1024))
    with pytest.raises(HounsfieldUnknown, match="units of slice 3 of 12"):
        thoracle.read(folder)


@pytest.mark.parametrize("slope", [0.5, 2.0, 0.1])
def test_a_slice_that_lost_its_slope_is_named(tmp_path: Path, slope: float) -> None:
    def make(k: int) -> FileDataset:
        return make_slice(k, np.rint((HU[k] + 1024.0) / slope).astype(np.uint16), RescaleSlope=1 if k == 4 else slope)

    with pytest.raises(HounsfieldUnknown, match="units of slice 5 of 12"):
        thoracle.read(write_series(tmp_path / "s", make))


def test_a_lost_intercept_where_slopes_differ_in_earnest(tmp_path: Path) -> None:
    def make(k: int) -> FileDataset:
        slope = 1 + k % 2
        return make_slice(
            k, np.rint((HU[k] + 1024) / slope).astype(np.uint16), RescaleSlope=slope, RescaleIntercept=0 if k in (4, 5) else -1024
        )

    with pytest.raises(HounsfieldUnknown, match="units of slice 5 to 6 of 12"):
        thoracle.read(write_series(tmp_path / "s", make))


@pytest.mark.parametrize("shift", [1024, -1024])
def test_pixels_that_had_the_intercept_twice_or_never(tmp_path: Path, shift: int) -> None:
    """The header says the same of all slices: an export added the intercept to the pixels of two, or took it off."""
    folder = write_series(tmp_path / "s", lambda k: make_slice(k, (HU[k] + 1024 + shift * (k in (5, 6))).astype(np.int16), signed=True))
    with pytest.raises(HounsfieldUnknown, match="units of slice 6 to 7 of 12"):
        thoracle.read(folder)


def test_a_lost_intercept_under_padding(tmp_path: Path) -> None:
    def make(k: int) -> FileDataset:
        stored = offset(k)
        stored[:, :14] = 65535  # nearly half of each slice
        return make_slice(k, stored, PixelPaddingValue=65535, RescaleIntercept=0 if k == 7 else -1024)

    with pytest.raises(HounsfieldUnknown, match="units of slice 8 of 12"):
        thoracle.read(write_series(tmp_path / "s", make))


# In earnest


@pytest.mark.parametrize(("slopes", "intercepts"), [((1, 2), (-1024, -1024)), ((1, 1), (-1024, 0)), ((0.5, 2), (-1000, -2000))])
def test_rescale_by_slice_is_read(tmp_path: Path, slopes: tuple[float, ...], intercepts: tuple[float, ...]) -> None:
    """As PET has it, each slice over its own range: units that fit both steps to be exact."""
    units = HU // 2 * 2

    def make(k: int) -> FileDataset:
        slope, intercept = slopes[k % 2], intercepts[k % 2]
        return make_slice(
            k, np.rint((units[k] - intercept) / slope).astype(np.int16), signed=True, RescaleSlope=slope, RescaleIntercept=intercept
        )

    np.testing.assert_allclose(_units(write_series(tmp_path / "s", make)), units, atol=1e-3)


def test_slices_that_differ_altogether_are_no_jump(tmp_path: Path) -> None:
    """The upper end of a phantom: 8 slices of air alone above four of water alone, 1,000 HU apart."""
    units = HU.copy()
    units[8:] = -1000

    folder = write_series(tmp_path / "s", lambda k: make_slice(k, (units[k] + 1024).astype(np.uint16)))
    np.testing.assert_array_equal(_units(folder), units)


def test_lung_above_liver_in_a_crop_is_no_jump(tmp_path: Path) -> None:
    units = np.where(np.arange(SLICES)[:, None, None] < 6, -850, 55) + np.random.default_rng(1).normal(0, 20, (SLICES, 32, 32))
    units = np.rint(units).astype(np.int16)
    folder = write_series(tmp_path / "s", lambda k: make_slice(k, (units[k] + 1024).astype(np.uint16)))
    np.testing.assert_array_equal(_units(folder), units)


def test_a_slope_below_one_is_not_floored(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", lambda k: make_slice(k, ((HU[k] + 1024) * 10).astype(np.uint16), RescaleSlope="0.1"))
    np.testing.assert_allclose(_units(folder), HU, atol=1e-3)


def test_padding_and_intercept_do_not_overflow(tmp_path: Path) -> None:
    """-32768 and intercept -1024 are -33792, which int16 has not; undeclared padding stays what it is."""
    expected = HU.astype(np.int32)
    expected[:, 0] = -33792

    def make(k: int) -> FileDataset:
        stored = (HU[k] + 1024).astype(np.int16)
        stored[0] = -32768
        return make_slice(k, stored, signed=True)

    np.testing.assert_array_equal(_units(write_series(tmp_path / "s", make)), expected)


# Other units


@pytest.mark.parametrize("kind", ["HU", "hu", "US", "", None, "HU "])
def test_hounsfield_units_by_any_spelling(tmp_path: Path, kind: str | None) -> None:
    folder = write_series(tmp_path / "s", lambda k: make_slice(k, **({} if kind is None else {"RescaleType": kind})))
    np.testing.assert_array_equal(_units(folder), HU)


@pytest.mark.parametrize("kind", ["HU_MOD", "MGML", "Z_EFF", "ED", "OD"])
def test_another_rescale_type_is_named_unless_stated(tmp_path: Path, kind: str) -> None:
    folder = write_series(tmp_path / "s", lambda k: make_slice(k, RescaleType=kind if k < 5 else "HU"))
    with pytest.raises(HounsfieldUnknown, match=f"RescaleType of 5 of 12 slices is {kind}, not HU"):
        thoracle.read(folder)
    np.testing.assert_array_equal(_units(folder, hu="rescale"), HU)


def test_the_rescale_type_of_a_multi_frame_file(tmp_path: Path) -> None:
    ds = make_slice(0)
    ds.NumberOfFrames, ds.PixelData = SLICES, b"".join(offset(k).tobytes() for k in range(SLICES))
    shared, frames = Dataset(), []
    shared.PixelValueTransformationSequence = [Dataset()]
    shared.PixelValueTransformationSequence[0].RescaleType = "MGML"
    for k in range(SLICES):
        plane, frame = Dataset(), Dataset()
        plane.ImagePositionPatient = [-160, -160, 20 * k]
        frame.PlanePositionSequence = [plane]
        frames.append(frame)
    ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence = [shared], frames
    folder = write_series(tmp_path / "s", lambda _: ds, [0])
    with pytest.raises(HounsfieldUnknown, match="RescaleType of 12 of 12 slices is MGML"):
        thoracle.read(folder)
    shared.PixelValueTransformationSequence[0].RescaleType = "HU"
    np.testing.assert_array_equal(_units(write_series(tmp_path / "s", lambda _: ds, [0])), HU)


def test_missing_rescale_of_one_slice_is_refused_as_missing(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", lambda k: make_slice(k, **({"RescaleIntercept": None} if k == 3 else {})))
    with pytest.raises(RescaleMissing, match="1 of 12"):
        thoracle.read(folder)


def test_real_series_have_no_jump(data_dir: Path) -> None:
    for name in ("cip_ct64", "lidc_0001"):
        assert thoracle.read(data_dir / "dicom" / name).provenance.notes == ()


def test_a_lost_slope_beside_slices_of_the_slope_that_is_left(tmp_path: Path) -> None:
    """Slice 8 should have slope 2; both of its neighbours have 1 in earnest."""

    def make(k: int) -> FileDataset:
        return make_slice(k, np.rint((HU[k] + 1024) / (1 + k % 2)).astype(np.uint16), RescaleSlope=1 if k == 7 else 1 + k % 2)

    with pytest.raises(HounsfieldUnknown, match="units of slice 8 of 12"):
        thoracle.read(write_series(tmp_path / "s", make))
