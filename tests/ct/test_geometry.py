"""Where voxels are: one scan in any order is one array, headers and rows are weighed, what cannot be trusted is refused."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from thoracle.ct.geometry import AIR_HU, BLANK, is_blank, millimetres_per, resolve_affine, to_lps
from thoracle.ct.metadata import MetadataRow
from thoracle.ct.stored import StoredScan
from thoracle.errors import GantryTilt, GeometryInvalid, GeometryUnknown, ObliqueGeometry

SHAPE = (5, 6, 7)
ORDERS = [(order, flips) for order in itertools.permutations(range(3)) for flips in itertools.product((False, True), repeat=3)]
orders = st.sampled_from(ORDERS)
decimals = st.integers(100, 9999).map(lambda n: n / 1000)  # what scanners write: a few digits
spacings = st.tuples(decimals, decimals, decimals)


def scan(affine: NDArray[Any] | None, shape: tuple[int, ...] = SHAPE) -> StoredScan:
    return StoredScan(voxels=np.zeros(shape, np.int16), affine=affine, geometry="header", rescale=None, format="test", sha256="")


def grid(spacing: tuple[float, ...], offset: tuple[float, ...] = (0.0, 0.0, 0.0)) -> NDArray[np.float64]:
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = offset
    return affine


def reordered(
    array: NDArray[Any], affine: NDArray[Any], order: tuple[int, ...], flips: tuple[bool, ...]
) -> tuple[Any, NDArray[np.float64]]:
    """The same scan stored with its axes in another order, some of them backwards."""
    turned = array.transpose(order)
    step = np.zeros((4, 4))  # index of the turned array to index of the given one
    step[3, 3] = 1
    for new, (old, flip) in enumerate(zip(order, flips, strict=True)):
        step[old, new] = -1 if flip else 1
        step[old, 3] = array.shape[old] - 1 if flip else 0
        turned = np.flip(turned, new) if flip else turned
    return turned, affine @ step


def rotated(
    affine: NDArray[Any], shape: tuple[int, ...], degrees: float, axis: tuple[float, float, float] = (1, 0, 0)
) -> NDArray[np.float64]:
    """Turned about the middle of the scan."""
    turn = Rotation.from_rotvec(np.radians(degrees) * np.array(axis) / np.linalg.norm(axis)).as_matrix()
    centre = affine @ [*((np.array(shape) - 1) / 2), 1]
    out = np.eye(4)
    out[:3, :3] = turn @ affine[:3, :3]
    out[:3, 3] = turn @ (affine[:3, 3] - centre[:3]) + centre[:3]
    return out


def settled(affine: NDArray[Any], row: MetadataRow | None = None, shape: tuple[int, ...] = SHAPE) -> NDArray[np.float64]:
    return resolve_affine(scan(affine, shape), row=row, source="scan.nii")[0]


@given(order=orders, spacing=spacings, offset=st.tuples(*[st.floats(-500, 500)] * 3))
def test_any_of_the_48_orders_and_flips_gives_the_same_array(
    order: tuple[Any, Any], spacing: tuple[float, ...], offset: tuple[float, ...]
) -> None:
    array = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    turned, affine = reordered(array, grid(spacing, offset), *order)
    lps = to_lps(turned, settled(affine, shape=turned.shape))
    np.testing.assert_array_equal(lps.array, array)
    assert np.shares_memory(lps.array, array)
    assert lps.spacing == spacing
    np.testing.assert_allclose(lps.affine, grid(spacing, offset), atol=1e-9)
    assert lps.repaired == ()


def test_there_are_48() -> None:
    array = np.arange(24).reshape(2, 3, 4)
    assert len({(t := reordered(array, np.eye(4), *order)[0]).shape + tuple(t.ravel()) for order in ORDERS}) == 48


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


def slanted(degrees: float, *, along: int, of: int, spacing: tuple[float, ...] = (0.7, 0.7, 2.5)) -> NDArray[np.float64]:
    """Axis `of` slides along axis `along` by an angle."""
    affine = grid(spacing)
    affine[along, of] = spacing[of] * np.tan(np.radians(degrees))
    return affine


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


@pytest.mark.parametrize(
    ("shear", "shape", "drift"),
    [
        (0.06, (64, 64, 30), 0.36),  # 0.34 degrees: 30 steps of 10 mm slide by 1.8 mm, 0.36 voxels of 5 mm
        (0.03, (64, 64, 30), 0.18),
        (0.03, (64, 64, 80), 0.48),
    ],
)
@pytest.mark.parametrize("along", [0, 1])
@pytest.mark.parametrize("order", [ORDERS[0], ORDERS[9], ORDERS[30], ORDERS[47]])
def test_a_drift_below_half_a_voxel_is_squared_and_said(
    shear: float, shape: tuple[int, int, int], drift: float, along: int, order: tuple[Any, Any]
) -> None:
    """The affine of ITK #3994: a hundredth of a step of 10 mm beside it."""
    affine = grid((5.0, 5.0, 10.0), (-160.0, -150.0, -700.0))
    affine[along, 2] = shear
    array = np.zeros(shape, np.int16)
    array[1, 2, 3] = 7
    turned, stored = reordered(array, affine, *order)
    lps = to_lps(turned, settled(stored, shape=turned.shape))
    np.testing.assert_array_equal(lps.array, array)
    np.testing.assert_allclose(lps.spacing, (5.0, 5.0, 10.0), rtol=1e-4)
    squared = [note for note in lps.repaired if "squared" in note]
    assert len(squared) == 1
    assert f"than {drift:.2f} voxels" in squared[0]
    centre = [*((np.array(shape) - 1) / 2), 1]
    np.testing.assert_allclose(lps.affine @ centre, affine @ centre, atol=1e-6)  # the middle stays where it is


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


@given(degrees=st.floats(0.001, 0.1), order=orders)
def test_a_turn_of_less_than_half_a_voxel_is_taken_as_aligned_and_said(degrees: float, order: tuple[Any, Any]) -> None:
    shape, spacing = (300, 300, 20), (0.7, 0.7, 1.25)
    array = np.zeros(shape, np.int16)
    array[3, 2, 1] = 7
    aligned = grid(spacing, (-100.0, -110.0, -900.0))
    turned, affine = reordered(array, rotated(aligned, shape, degrees, (0, 0, 1)), *order)
    lps = to_lps(turned, settled(affine, shape=turned.shape))
    np.testing.assert_array_equal(lps.array, array)
    assert lps.spacing == spacing
    np.testing.assert_allclose(lps.affine, aligned, atol=1e-6)
    moved = np.radians(degrees) * 299 / 2
    assert ("taken as aligned" in "".join(lps.repaired)) == (moved > 1e-3)


@settings(max_examples=40)
@given(
    degrees=st.floats(3, 29),
    axis=st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda a: np.linalg.norm(a) > 0.1),
    order=orders,
)
def test_an_oblique_scan_is_resampled_and_said(degrees: float, axis: tuple[float, float, float], order: tuple[Any, Any]) -> None:
    """A field linear in millimetres is what linear resampling gives back exactly, at the same place in the patient."""
    shape, spacing = (24, 20, 16), (0.9, 1.1, 1.5)
    affine = rotated(grid(spacing, (-40.0, 30.0, -700.0)), shape, degrees, axis)
    field = np.array([2.0, -3.0, 1.5])
    points = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    array = (points @ field + 1000).astype(np.float32)
    turned, stored = reordered(array, affine, *order)
    lps = to_lps(turned, settled(stored, shape=turned.shape))
    assert "resampled" in lps.repaired[0]
    assert lps.spacing == spacing
    assert lps.array.dtype == np.float32
    assert np.array_equal(lps.affine[:3, :3], np.diag(spacing))
    expected = (np.moveaxis(np.indices(lps.array.shape), 0, -1) * spacing + lps.affine[:3, 3]) @ field + 1000
    scanned = lps.array != AIR_HU
    assert scanned.mean() > 0.2
    np.testing.assert_allclose(lps.array[scanned], expected[scanned], atol=5e-3)
    assert scanned[tuple(n // 2 for n in scanned.shape)]


def test_oblique_integers_are_rounded_and_surrounded_by_air() -> None:
    array = np.full((40, 40, 40), 37, np.int16)
    lps = to_lps(array, settled(rotated(np.eye(4), array.shape, 20.0), shape=array.shape))
    assert lps.array.dtype == np.int16
    assert set(np.unique(lps.array)) == {AIR_HU, 37}
    assert min(lps.array.shape) >= 40
    assert (lps.array == 37).sum() == pytest.approx(39**3, rel=0.05)  # nothing of the scan is cut off


@given(degrees=st.floats(30.5, 44), axis=st.integers(0, 2))
def test_further_than_30_degrees_is_refused(degrees: float, axis: int) -> None:
    with pytest.raises(ObliqueGeometry, match=f"{degrees:.1f} degrees"):
        settled(rotated(grid((0.7, 0.7, 1.5)), SHAPE, degrees, tuple(np.eye(3)[axis])))


def test_a_thin_oblique_box_may_not_take_the_memory() -> None:
    with pytest.raises(ObliqueGeometry, match="times its voxels"):
        settled(rotated(grid((0.06, 0.06, 19.0)), (64, 64, 800), 25.0), shape=(64, 64, 800))


def test_the_identity_in_any_order_and_direction_from_anywhere_is_blank() -> None:
    for order, signs in itertools.product(itertools.permutations(range(3)), itertools.product((1.0, -1.0), repeat=3)):
        affine = np.eye(4)
        affine[:3, :3] = np.eye(3)[:, order] * signs
        affine[:3, 3] = (-120.5, 3.0, 800.0)
        assert is_blank(affine)
        affine[0] *= 1 + 1e-9  # as from a quaternion
        assert is_blank(affine)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.25), (0.9765625, 1.0, 1.0), (1.0, 1.0, 1.001), (2.0, 1.0, 1.0), (1.0, 0.0, 1.0)])
def test_another_spacing_is_not_blank(spacing: tuple[float, ...]) -> None:
    assert not is_blank(np.diag([*spacing, 1.0]))


def test_a_turned_or_broken_affine_is_not_blank() -> None:
    turned = np.eye(4)
    turned[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    assert not is_blank(turned)
    assert not is_blank(np.full((4, 4), np.nan))
    doubled = np.eye(4)
    doubled[1, 0], doubled[0, 0] = 1.0, 0.0  # two axes along y
    assert not is_blank(doubled)


@pytest.mark.parametrize(("unit", "factor"), [("meter", 1000), ("m", 1000), ("micron", 0.001), ("um", 0.001), ("cm", 10), ("MM", 1)])
def test_a_body_in_another_unit_is_a_body(unit: str, factor: float) -> None:
    steps = np.array([0.7, 0.7, 1.25]) / factor
    assert millimetres_per(unit, steps, (512, 512, 300), field="xyzt_units", source=Path("scan.nii")) == factor


@pytest.mark.parametrize("unit", ["meter", "micron"])
def test_millimetres_under_another_unit_are_no_body_and_quoted(unit: str) -> None:
    with pytest.raises(GeometryInvalid, match=rf"xyzt_units must be millimetres, is {unit}: 512 x 512 x 300 voxels of 0\.7 x 0\.7 x 1\.25"):
        millimetres_per(unit, np.array([0.7, 0.7, 1.25]), (512, 512, 300), field="xyzt_units", source=Path("scan.nii"))


@pytest.mark.parametrize(
    ("unit", "steps", "shape"), [("cm", 0.7, (512, 512, 300)), ("m", 0.001, (20, 20, 20)), ("m", np.nan, (99, 99, 99))]
)
def test_what_is_larger_or_smaller_than_a_body_is_refused(unit: str, steps: float, shape: tuple[int, ...]) -> None:
    with pytest.raises(GeometryInvalid, match="no body"):
        millimetres_per(unit, np.full(3, steps), shape, field="space units", source=Path("scan.nrrd"))


@pytest.mark.parametrize("unit", ["sec", "furlong", "", "7"])
def test_what_is_no_length_is_refused(unit: str) -> None:
    with pytest.raises(GeometryInvalid, match="must be millimetres"):
        millimetres_per(unit, np.full(3, 0.7), (512, 512, 300), field="space units", source=Path("scan.nrrd"))
