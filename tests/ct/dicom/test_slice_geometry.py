"""Regular grids are recognised however they lie and however they are rounded; what is not regular is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset
from scipy.spatial.transform import Rotation

import thoracle
from tests.ct.dicom.chest_series import HU, SLICES, make_slice, offset, write_series
from thoracle.ct.dicom.files import StudyFile
from thoracle.ct.dicom.frames import Slice
from thoracle.ct.dicom.header import Header
from thoracle.ct.dicom.slice_geometry import build_slice_grid
from thoracle.ct.nifti_image import to_nifti
from thoracle.errors import DuplicateSlices, GantryTilt, GeometryError, MixedSeries, SliceGap, TooFewSlices

HEADER = Header(
    source=StudyFile(label="slice", size=0, open=lambda: pytest.fail("geometry opens no file")),
    dataset=Dataset(),
    sop_class="",
    syntax="1.2.840.10008.1.2.1",  # type: ignore[arg-type]
    size=0,
    deflated_at=None,
    has_pixels=True,
    pixels=None,
)
turns = st.tuples(*[st.floats(-180, 180)] * 3).map(lambda angles: Rotation.from_euler("xyz", angles, degrees=True).as_matrix())
steps = st.floats(0.4, 8.0)


def _slices(along: NDArray[np.float64], *, axes: NDArray[np.float64], decimals: int = 6, shear: float = 0.0) -> list[Slice]:
    """Slices at these places along the normal of `axes` (rows: column direction, row direction, normal)."""
    one = Slice(
        header=HEADER,
        frame=0,
        rows=4,
        columns=4,
        position=np.zeros(3),
        orientation=axes[:2].round(6),
        spacing=np.array([0.8, 0.7]),
        thickness=None,
        rescale=None,
    )
    return [replace(one, position=(np.array([10.0, -20, 30]) + a * (axes[2] + shear * axes[1])).round(decimals)) for a in along]


@given(axes=turns, step=steps, count=st.integers(2, 60), order=st.randoms())
def test_any_regular_stack_is_its_grid_in_any_order(axes: NDArray[np.float64], step: float, count: int, order: object) -> None:
    slices = _slices(step * np.arange(count), axes=axes)
    shuffled = list(slices)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    grid = build_slice_grid(shuffled, min_slices=2, source="")
    assert grid.slices == tuple(slices)
    expected = np.eye(4)
    expected[:3, :3] = (axes * [[0.7], [0.8], [step]]).T
    expected[:3, 3] = [10, -20, 30]
    np.testing.assert_allclose(grid.affine, expected, atol=2e-5)


@given(step=st.floats(1.25, 8), decimals=st.integers(1, 3), count=st.integers(3, 300))
def test_rounding_of_positions_is_no_gap(step: float, decimals: int, count: int) -> None:
    """Three decimals give 3.987 and 3.988 in turn, one gives 1.2 and 1.3; rounding does not add up over many slices."""
    grid = build_slice_grid(_slices(step * np.arange(count), axes=np.eye(3), decimals=decimals), min_slices=3, source="")
    assert grid.affine[2, 2] == pytest.approx(step, abs=0.1 / (count - 1) + 1e-9)


@given(axes=turns, step=steps, count=st.integers(3, 60), data=st.data())
def test_a_missing_slice_is_always_found(axes: NDArray[np.float64], step: float, count: int, data: st.DataObject) -> None:
    missing = data.draw(st.integers(1, count - 1))
    with pytest.raises(SliceGap, match="1 missing" if count > 3 else "steps"):
        build_slice_grid(_slices(step * np.delete(np.arange(count + 1), missing), axes=axes, decimals=3), min_slices=1, source="")


@given(axes=turns, step=steps, count=st.integers(2, 60), degrees=st.floats(0.5, 30))
def test_a_tilt_is_always_found(axes: NDArray[np.float64], step: float, count: int, degrees: float) -> None:
    shear = float(np.tan(np.radians(degrees)))
    if shear * step * (count - 1) < 0.1:
        return  # two or three thin slices hide so small a tilt in rounding
    with pytest.raises(GantryTilt, match="degrees"):
        build_slice_grid(_slices(step * np.arange(count), axes=axes, shear=shear), min_slices=1, source="")


@given(step=steps, count=st.integers(2, 40), data=st.data())
def test_a_repeated_position_is_always_found(step: float, count: int, data: st.DataObject) -> None:
    twice = data.draw(st.integers(0, count - 1))
    along = np.insert(step * np.arange(count), twice, step * twice)
    with pytest.raises(DuplicateSlices, match=f"1 of {count + 1}"):
        build_slice_grid(_slices(along, axes=np.eye(3)), min_slices=1, source="")


@given(along=st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=12))
def test_any_positions_end_in_a_grid_or_a_typed_error(along: list[float]) -> None:
    try:
        grid = build_slice_grid(_slices(np.array(along), axes=np.eye(3)), min_slices=2, source="")
    except GeometryError:
        return
    assert np.isfinite(grid.affine).all()
    assert np.linalg.det(grid.affine) > 0


def test_geometry_is_judged_before_the_number_of_slices() -> None:
    with pytest.raises(GantryTilt):
        build_slice_grid(_slices(np.arange(4.0), axes=np.eye(3), shear=0.2), min_slices=10, source="")
    with pytest.raises(TooFewSlices, match=r"has 4 slice\(s\), at least 10"):
        build_slice_grid(_slices(np.arange(4.0), axes=np.eye(3)), min_slices=10, source="")


def test_a_gap_says_where_it_is_and_sideways_shift_is_a_mixture() -> None:
    with pytest.raises(SliceGap, match=r"steps between slices are 1.25 mm, but 3.75 mm between slices 2 and 3 of 8 \(2 missing\)"):
        build_slice_grid(_slices(1.25 * np.array([0, 1, 4, 5, 6, 7, 8, 9.0]), axes=np.eye(3)), min_slices=1, source="")
    slices = _slices(np.arange(9.0), axes=np.eye(3))
    slices[4] = replace(slices[4], position=slices[4].position + np.array([0.3, 0, 0]))
    with pytest.raises(MixedSeries, match="sideways"):
        build_slice_grid(slices, min_slices=1, source="")


# Distances that change


def _along(*runs: tuple[int, float]) -> NDArray[np.float64]:
    """Positions of slices from runs of (number of steps, mm)."""
    return np.cumsum([0.0, *(step for count, step in runs for _ in range(count))])


def _refusal(along: NDArray[np.float64]) -> str:
    with pytest.raises(SliceGap) as caught:
        build_slice_grid(_slices(along, axes=np.eye(3)), min_slices=1, source="")
    return str(caught.value)


@pytest.mark.parametrize(
    ("runs", "detail"),
    [
        ([(20, 10), (9, 5)], "slices change from 10 to 5 mm at slice 21 of 30. To resample them linearly to 5 mm, say --uneven resample"),
        ([(5, 1), (24, 2.5)], "slices change from 1 to 2.5 mm at slice 6 of 30"),
        ([(4, 5), (4, 1.25), (4, 5)], "slices change from 5 to 1.25 mm at slice 5 and from 1.25 to 5 mm at slice 9 of 13"),
        ([(9, 5), (1, 10), (9, 5)], "steps between slices are 5 mm, but 10 mm between slices 10 and 11 of 20 (1 missing)"),
        ([(9, 5), (1, 15), (9, 5), (1, 10), (4, 5)], "but 15 mm between slices 10 and 11 of 25 (3 missing in 2 places)"),
        ([(9, 5), (2, 10), (9, 5)], "but 10 mm between slices 10 and 11 of 21 (2 missing)"),
        ([(9, 10), (1, 20), (9, 10), (9, 5)], "but 20 mm between slices 10 and 11 of 29 (1 missing)"),
        ([(1, 10), (9, 5)], "but 10 mm between slices 1 and 2 of 11 (1 missing)"),
        ([(9, 5), (1, 7), (9, 5)], "steps between slices are 5 mm, but 7 mm between slices 10 and 11 of 20. Export"),
        ([(9, 5), (1, 1.5)], "steps between slices are 5 mm, but 1.5 mm between slices 10 and 11 of 11. Export"),
    ],
)
def test_a_change_of_distance_is_told_apart_from_missing_slices(runs: list[tuple[int, float]], detail: str) -> None:
    assert detail in _refusal(_along(*runs))
    assert "-1" not in _refusal(_along(*runs))


def test_steps_that_drift_are_no_change() -> None:
    assert "steps between slices run from" in _refusal(np.cumsum(np.linspace(2.0, 2.15, 40)))


@pytest.mark.parametrize("runs", [[(9, 5), (1, 10), (9, 5)], [(9, 5), (1, 7), (9, 5)]])
def test_resampling_does_not_invent_missing_slices(runs: list[tuple[int, float]]) -> None:
    with pytest.raises(SliceGap):
        build_slice_grid(_slices(_along(*runs), axes=np.eye(3)), min_slices=1, source="", uneven="resample")


def test_resampled_places() -> None:
    """10 mm twice over 5 mm: halfway between slices, then on them."""
    grid = build_slice_grid(_slices(_along((3, 10), (3, 5)), axes=np.eye(3)), min_slices=1, source="", uneven="resample")
    assert grid.places is not None
    np.testing.assert_allclose(grid.places, [0, 0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 6])
    assert grid.affine[2, 2] == 5
    assert grid.notes == ("slices change from 10 to 5 mm at slice 4 of 7: resampled linearly to 5 mm, 10 slices made of 7",)


def test_even_slices_are_not_resampled() -> None:
    grid = build_slice_grid(_slices(1.25 * np.arange(40), axes=np.eye(3), decimals=1), min_slices=1, source="", uneven="resample")
    assert (grid.places, grid.notes) == (None, ())


# What lies where, once it is read


def _turned(folder: Path, rotation: NDArray[np.float64], *, rows: int = 1, **tags: object) -> thoracle.Volume:
    """Read the chest turned in space; with `rows` -1 each slice is stored upside down."""

    def make(k: int) -> FileDataset:
        corner = np.array([-160.0, -160.0 if rows == 1 else 150.0, 16.0 * k])
        axes = np.array([[1.0, 0, 0], [0, rows, 0]]) @ rotation.T
        ds = make_slice(k, np.ascontiguousarray(offset(k)[::rows]), **tags)
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [f"{x:.6f}" for x in rotation @ corner], [f"{x:.6f}" for x in axes.ravel()]
        return ds

    return thoracle.read(write_series(folder, make))


def _at(volume: thoracle.Volume, point: NDArray[np.float64]) -> int:
    """Hounsfield units of the voxel nearest to a place in LPS mm."""
    i, j, k = np.rint(np.linalg.inv(volume.affine) @ [*point, 1])[:3].astype(int)
    return int(volume.array[i, j, k])


@pytest.mark.parametrize("rows", [1, -1])
@pytest.mark.parametrize("tags", [{}, {"SpacingBetweenSlices": -16}, {"SliceLocation": 7}])
def test_flipped_rows_and_backward_spacing_are_the_same_chest(tmp_path: Path, rows: int, tags: dict[str, object]) -> None:
    volume = _turned(tmp_path / "s", np.eye(3), rows=rows, **tags)
    np.testing.assert_array_equal(volume.array.T, HU)
    np.testing.assert_array_equal(volume.affine, [[10, 0, 0, -160], [0, 10, 0, -160], [0, 0, 16, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize("rows", [1, -1])
def test_what_is_written_for_flipped_rows_is_not_mirrored(tmp_path: Path, rows: int) -> None:
    """A mask over the mass, which lies in the right lung, lies over it in the file too."""
    volume = _turned(tmp_path / "s", np.eye(3), rows=rows)
    mask = np.zeros(volume.array.shape, np.float32)
    mask[8:11, 10:16, 3:6] = 1
    (tmp_path / "mask.nii.gz").write_bytes(to_nifti(mask, volume.affine))
    written = nib.load(tmp_path / "mask.nii.gz")
    places = nib.affines.apply_affine(written.affine, np.argwhere(written.get_fdata() > 0.5))  # RAS mm
    np.testing.assert_allclose(places.mean(axis=0), [160 - 90, 160 - 125, 64])


@pytest.mark.parametrize("axis", ["x", "y", "z"])
@pytest.mark.parametrize("degrees", [1.0, 12.0, 29.5])
@pytest.mark.parametrize("rows", [1, -1])
def test_oblique_slices_lie_where_they_lie(tmp_path: Path, axis: str, degrees: float, rows: int) -> None:
    rotation = Rotation.from_euler(axis, degrees, degrees=True).as_matrix()
    volume = _turned(tmp_path / "s", rotation, rows=rows)
    for x, y, z, units in ((8.5, 13, 4, 30), (22, 16, 5, -850), (10, 16, 8, -850), (16, 16, 5, 40), (2, 2, 5, -1000)):
        place = rotation @ np.array([-160 + 10 * x, -160 + 10 * y, 16 * z])
        assert _at(volume, place) == pytest.approx(units, abs=60)


def test_frames_without_places_of_their_own_are_refused(tmp_path: Path) -> None:
    """One position for all frames, and a step that somebody may invent."""
    ds = make_slice(0, NumberOfFrames=SLICES, SpacingBetweenSlices=20, PixelData=b"".join(offset(k).tobytes() for k in range(SLICES)))
    with pytest.raises(DuplicateSlices, match="11 of 12"):
        thoracle.read(write_series(tmp_path / "s", lambda _: ds, [0]))


@pytest.mark.parametrize("name", ["Göğüs BT çekimi ü 日本", "Go\u0308g\u0306u\u0308s", "\udcff\udce9", "-rf * ?;'$(x)", "a\nb"])
def test_a_folder_of_any_name_is_read(tmp_path: Path, name: str) -> None:
    """Turkish and Japanese, decomposed letters, bytes that are no UTF-8, and what a shell would take for a command."""
    volume = thoracle.read(write_series(tmp_path / name / name, make_slice))
    np.testing.assert_array_equal(volume.array.T, HU)
