"""Headers and rows are weighed, and what cannot be trusted is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.ct.geometry.affines import SHAPE, grid, orders, reordered, rotated, scan, settled, slanted, spacings
from thoracle.ct.geometry.affine import resolve_affine
from thoracle.ct.geometry.header import BLANK, is_blank
from thoracle.ct.geometry.lps import to_lps
from thoracle.ct.metadata import MetadataRow
from thoracle.ct.stored import StoredScan
from thoracle.errors import GantryTilt, GeometryInvalid, GeometryUnknown, ObliqueGeometry


@given(order=orders, spacing=spacings)
def test_float32_spacing_is_the_decimal_that_was_meant(order: tuple[Any, Any], spacing: tuple[float, ...]) -> None:
    _, affine = reordered(np.zeros(SHAPE), grid(spacing), *order)
    as_stored = affine.astype(np.float32).astype(np.float64)
    assert to_lps(np.zeros(SHAPE, np.int16), settled(as_stored)).spacing == spacing


@pytest.mark.parametrize(("meant", "voxels", "resampled"), [(0.6, 500, 399), (0.31640625, 512, 216), (0.341796875, 1024, 466)])
def test_header_and_row_give_the_same_resampled_size(meant: float, voxels: int, resampled: int) -> None:
    header = grid((np.float32(meant), np.float32(meant), 1.5))
    for row in (None, MetadataRow(spacing=(meant, meant, 1.5))):
        spacing = to_lps(np.zeros(SHAPE, np.int16), settled(header, row)).spacing
        assert int(voxels * (spacing[0] / 0.75)) == resampled


def test_numbers_with_more_digits_are_kept() -> None:
    step = 315 / 79  # a mean of positions; 3.98734 would lose a slice of the resampled 210
    assert to_lps(np.zeros(SHAPE, np.int16), settled(grid((0.354492188, 0.31640625, step)))).spacing == (0.354492188, 0.31640625, step)


@given(order=orders)
def test_the_rows_decimals_replace_the_headers_float32(order: tuple[Any, Any]) -> None:
    spacing = (0.354492188, 0.3544921, 3.9873417721518987)
    turned, affine = reordered(np.zeros(SHAPE, np.int16), grid(spacing), *order)
    noisy = affine.astype(np.float32).astype(np.float64)
    noisy[:3, :3] += 1e-10  # as from a quaternion
    settled_affine, said = resolve_affine(scan(noisy, turned.shape), row=MetadataRow(spacing=spacing, intercept=-1024), source="scan.nii")
    assert to_lps(turned, settled_affine).spacing == spacing
    assert "header" in said
    assert "metadata row" in said


@pytest.mark.parametrize("spacing", [(0.8, 0.7, 1.5), (0.7, 0.7, 1.6), (0.7, 0.7, -1.5), (0.7, 0.7, np.nan)])
def test_a_row_of_another_volume_is_found_out(spacing: tuple[float, float, float]) -> None:
    with pytest.raises(GeometryInvalid, match=r"0\.7 x 0\.7 x 1\.5 mm.*another volume"):
        settled(grid((0.7, 0.7, 1.5)), MetadataRow(spacing=spacing))


def test_a_blank_header_takes_geometry_from_the_row() -> None:
    array = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    row = MetadataRow(spacing=(0.7, 0.8, 1.25), orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), position="FFS")
    affine, said = resolve_affine(scan(None), row=row, source="scan.nii")
    lps = to_lps(array, affine)
    np.testing.assert_array_equal(lps.array, array)  # feet first turns nothing: orientation is in the patient's coordinates
    assert lps.spacing == row.spacing
    assert "FFS" in said
    assert "DOE" not in resolve_affine(scan(None), row=MetadataRow(spacing=row.spacing, position="DOE^JANE"), source="scan.nii")[1]
    assert resolve_affine(scan(None), row=MetadataRow(spacing=row.spacing), source="scan.nii")[0].tolist() == affine.tolist()


@given(order=orders)
def test_a_blank_headers_row_may_name_any_orientation(order: tuple[Any, Any]) -> None:
    """Stored with k = i x j, which is what a conversion from DICOM does."""
    axes = np.eye(3)[:, order[0]] * np.where(order[1], -1, 1)
    i, j = axes[:, 0], axes[:, 1]
    row = MetadataRow(spacing=(0.7, 0.8, 1.25), orientation=(*i, *j))
    affine, _ = resolve_affine(scan(None), row=row, source="scan.nii")
    np.testing.assert_allclose(affine[:3, :3], np.stack([i * 0.7, j * 0.8, np.cross(i, j) * 1.25], axis=1))


@pytest.mark.parametrize("row", [None, MetadataRow(), MetadataRow(slope=1.0, intercept=-1024.0)])
def test_a_blank_header_without_a_row_is_unknown(row: MetadataRow | None) -> None:
    with pytest.raises(GeometryUnknown, match=r"scan\.nii: .*--metadata"):
        resolve_affine(scan(None), row=row, source="scan.nii")


@pytest.mark.parametrize(
    "row",
    [
        MetadataRow(spacing=(0.7, 0.7, -1.5)),
        MetadataRow(spacing=(0.7, np.nan, 1.5)),
        MetadataRow(spacing=(0.0, 0.7, 1.5)),
        MetadataRow(spacing=(0.7, 0.7, 1.5), orientation=(1, 0, 0, 1, 0, 0)),
        MetadataRow(spacing=(0.7, 0.7, 1.5), orientation=(1, 0, 0, 0, 0, 0)),
        MetadataRow(spacing=(0.7, 0.7, 1.5), orientation=(1, 0, 0, 0, np.nan, 0)),
    ],
)
def test_a_row_that_makes_no_sense_is_invalid(row: MetadataRow) -> None:
    with pytest.raises(GeometryInvalid, match=r"scan\.nii"):
        resolve_affine(scan(None), row=row, source="scan.nii")


@given(at=st.tuples(st.integers(0, 2), st.integers(0, 3)), value=st.sampled_from([np.nan, np.inf, -np.inf, 1e30, 1e200]))
def test_what_is_not_finite_or_far_away_is_invalid(at: tuple[int, int], value: float) -> None:
    affine = grid((0.7, 0.7, 1.5))
    affine[at] = value
    with pytest.raises(GeometryInvalid, match="finite"):
        settled(affine)


@pytest.mark.parametrize("spacing", [(0.0, 0.7, 1.5), (0.7, 0.04, 1.5), (0.7, 0.7, 20.5), (1e-300, 1e-300, 1e-300)])
def test_spacing_of_no_scanner_is_invalid(spacing: tuple[float, ...]) -> None:
    with pytest.raises(GeometryInvalid, match=r"0\.05 to 20"):
        settled(grid(spacing))


def test_axes_that_do_not_span_space_are_invalid() -> None:
    affine = grid((1.0, 1.0, 1.0))
    affine[:3, 1] = affine[:3, 0]
    with pytest.raises(GeometryInvalid, match="singular"):
        settled(affine)


@given(degrees=st.floats(1, 40), order=orders, sign=st.sampled_from([-1, 1]))
def test_a_shear_of_z_into_y_alone_is_gantry_tilt(degrees: float, order: tuple[Any, Any], sign: int) -> None:
    shape = (50, 60, 70)  # 70 slices of 2.5 mm at 1 degree drift by 3 mm, 4 voxels of 0.7 mm
    turned, sheared = reordered(np.zeros(shape), slanted(sign * degrees, along=1, of=2), *order)
    with pytest.raises(GantryTilt, match=f"axes y and z are {degrees:.2f}"):
        settled(sheared, shape=turned.shape)


@given(degrees=st.floats(1, 40), order=orders, axes=st.sampled_from([(0, 2), (0, 1), (1, 0), (2, 0)]))
def test_any_other_shear_is_called_so(degrees: float, order: tuple[Any, Any], axes: tuple[int, int]) -> None:
    affine = slanted(degrees, along=axes[0], of=axes[1], spacing=(0.7, 0.8, 1.0))
    turned, sheared = reordered(np.zeros((50, 60, 70)), affine, *order)
    with pytest.raises(GeometryInvalid, match=f"sheared, {degrees:.2f} degrees"):
        settled(sheared, shape=turned.shape)


def test_a_tilt_with_a_shear_beside_it_is_a_shear() -> None:
    affine = slanted(5, along=1, of=2)
    affine[0, 2] = 0.3
    with pytest.raises(GeometryInvalid, match="sheared"):
        settled(affine, shape=(50, 60, 70))


@pytest.mark.parametrize("along", [0, 1])
def test_a_drift_beyond_half_a_voxel_is_refused(along: int) -> None:
    affine = grid((5.0, 5.0, 10.0))
    affine[along, 2] = 0.06
    with pytest.raises(GantryTilt if along else GeometryInvalid):
        settled(affine, shape=(64, 64, 42))  # 42 steps slide by 2.52 mm


def blank(affine: NDArray[Any]) -> StoredScan:
    assert is_blank(affine)
    return replace(scan(None), blank=affine, geometry=BLANK)


def test_a_blank_header_of_any_writer_gives_way_to_the_row() -> None:
    row = MetadataRow(spacing=(0.7, 0.8, 1.25))
    for affine in (np.eye(4), np.diag([-1.0, -1.0, 1.0, 1.0]), grid((1.0, 1.0, 1.0), (-7.0, 8.0, 9.0))):
        with pytest.raises(GeometryUnknown, match=r"blank header.*--metadata FILE\.csv.*XYSpacing.*--metadata FILE\.json"):
            resolve_affine(blank(affine), row=None, source="scan.nii")
        np.testing.assert_allclose(resolve_affine(blank(affine), row=row, source="scan.nii")[0][:3, :3], np.diag(row.spacing or ()))


@given(order=orders)
def test_a_row_of_1_mm_confirms_the_axes_of_a_blank_header(order: tuple[Any, Any]) -> None:
    array = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    turned, affine = reordered(array, np.eye(4), *order)
    resolved, remark = resolve_affine(blank(affine), row=MetadataRow(spacing=(1.0, 1.0, 1.0)), source="scan.nii")
    np.testing.assert_array_equal(to_lps(turned, resolved).array, array)
    assert "which agree" in remark
    with_axes = MetadataRow(spacing=(1.0, 1.0, 1.0), orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0))
    np.testing.assert_allclose(resolve_affine(blank(affine), row=with_axes, source="scan.nii")[0], np.eye(4))


@given(degrees=st.floats(0, 29), axis=st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda a: np.linalg.norm(a) > 0.1))
def test_float32_noise_is_no_shear(degrees: float, axis: tuple[float, float, float]) -> None:
    affine = rotated(grid((0.683594, 0.683594, 1.25), (-170.3, -181.7, -1320.5)), SHAPE, degrees, axis)
    settled(affine.astype(np.float32).astype(np.float64))


@given(degrees=st.floats(30.5, 44), axis=st.integers(0, 2))
def test_further_than_30_degrees_is_refused(degrees: float, axis: int) -> None:
    with pytest.raises(ObliqueGeometry, match=f"{degrees:.1f} degrees"):
        settled(rotated(grid((0.7, 0.7, 1.5)), SHAPE, degrees, tuple(np.eye(3)[axis])))


def test_a_thin_oblique_box_may_not_take_the_memory() -> None:
    with pytest.raises(ObliqueGeometry, match="times its voxels"):
        settled(rotated(grid((0.06, 0.06, 19.0)), (64, 64, 800), 25.0), shape=(64, 64, 800))
