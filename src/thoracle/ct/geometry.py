"""Resolve a trustworthy affine, and turn the array to patient left, posterior, superior.

All millimetres are DICOM's LPS frame (PS3.3 C.7.6.2.1.1). ImageOrientationPatient is already in the patient's coordinates, so
PatientPosition (head or feet first) does not turn the axes a second time; it is only said.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from thoracle.ct.metadata import MetadataRow
from thoracle.ct.stored import StoredScan
from thoracle.errors import GantryTilt, GeometryInvalid, GeometryUnknown, ObliqueGeometry
from thoracle.types import Affine, HounsfieldArray, Spacing

AIR_HU: Final = -1000  # what lies outside a scan that is turned
OBLIQUE_DEGREES: Final = 30.0  # further from the body's axes, "axial" slices are another view
SPACING_MM: Final = (0.05, 20.0)
_FARTHEST_MM: Final = 1e6  # no scanner's origin is a kilometre away
# PS3.3 C.7.3.1.1.2 without quadrupeds; anything else in a table's cell might name a patient, and is not repeated.
_POSITIONS: Final = frozenset(("HFS", "HFP", "HFDL", "HFDR", "FFS", "FFP", "FFDL", "FFDR", "SITTING"))
_ROW_AGREES: Final = 1e-3  # relative; rows and headers of one scan differ by rounding only
_HEADER_DIGITS: Final = 1e-7  # relative; what float32 does to a decimal of six digits
_STRAIGHT: Final = 1e-6  # radians; a thousandth of a voxel over a thousand of them
_MOST_DRIFT: Final = 0.5  # voxels over a whole scan that axes may be off perpendicular; then they are squared
_SAME_PLACE: Final = 1e-3  # voxels; less is rounding in the file and not worth a word
#: What readers say of an affine that nobody has set.
BLANK: Final = "blank header: identity affine at 1 mm"
#: Units of length by their names in headers, in mm.
UNITS_MM: Final = {
    **dict.fromkeys(("mm", "millimeter", "millimetre", "millimeters", "millimetres"), 1.0),
    **dict.fromkeys(("m", "meter", "metre", "meters", "metres"), 1000.0),
    **dict.fromkeys(("cm", "centimeter", "centimetre", "centimeters", "centimetres"), 10.0),
    **dict.fromkeys(("um", "µm", "μm", "micron", "microns", "micrometer", "micrometre", "micrometers", "micrometres"), 0.001),
}

_LEAST_MM: Final = 50.0  # along each axis of a field of view
_MOST_MM: Final = (1000.0, 1000.0, 2500.0)  # ascending: broader than any bore, longer than any body
_TURNED_GROWS: Final = 8  # times; a turned long thin box takes more voxels than a scan is worth

Vector = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class LPSGrid:
    """Hold Hounsfield units (x, y, z) whose indices grow towards left, posterior, superior; `affine` is diagonal but for its offset."""

    array: HounsfieldArray
    spacing: Spacing
    affine: Affine
    repaired: tuple[str, ...]


def is_blank(affine: Affine) -> bool:
    """Tell whether an affine is what writers put where nobody has set one: axes in any order and direction at exactly 1 mm, any origin.

    SimpleITK writes it for an array without spacing (as diag(-1, -1, 1) into NIfTI), nibabel for `np.eye(4)`, pynrrd for unit directions.
    """
    linear = affine[:3, :3]
    if not np.isfinite(linear).all():
        return False
    steps = np.abs(linear)
    whole = np.rint(steps)
    return bool(np.abs(steps - whole).max() < _STRAIGHT and (whole.sum(axis=0) == 1).all() and (whole.sum(axis=1) == 1).all())


def millimetres_per(unit: str, steps: NDArray[np.float64], shape: tuple[int, ...], *, field: str, source: Path) -> float:
    """Look up the length of a unit in mm, and check that it makes a body of the volume.

    Args:
        unit: as `field` of the header names it.
        steps: from voxel to voxel along the three axes, in that unit.
        shape: of the volume.
        field: of the header.
        source: the file, for messages.

    Raises:
        GeometryInvalid: another unit, or no body of that size: most often millimetres under a wrong unit.
    """
    hint = "The header is damaged: convert the scan again from its source."
    factor = UNITS_MM.get(unit.strip().lower())
    if factor is None:
        raise GeometryInvalid(f"{field} must be millimetres, is {unit[:20]!r}", hint=hint, source=source)
    lengths = steps * factor
    extents = np.sort(lengths * shape)
    if not (SPACING_MM[0] <= lengths.min() and lengths.max() <= SPACING_MM[1] and extents[0] >= _LEAST_MM and (extents <= _MOST_MM).all()):
        numbers, voxels = " x ".join(f"{step:.6g}" for step in steps), " x ".join(map(str, shape))
        detail = f"{field} must be millimetres, is {unit.strip()}: {voxels} voxels of {numbers} {unit.strip()} are no body"
        raise GeometryInvalid(detail, hint=hint, source=source)
    return factor


def resolve_affine(stored: StoredScan, *, row: MetadataRow | None, source: str) -> tuple[Affine, str]:
    """Resolve the affine from voxel index of the stored array to LPS millimetres, with a sentence on its source.

    The row's spacing is exact decimals and replaces the header's float32; its orientation is used only where the header has none. A blank
    header counts as none, unless the row says 1 mm too and leaves the orientation to it.

    Raises:
        GeometryUnknown: neither header nor row says where the voxels are.
        GeometryInvalid: not finite, singular, sheared, spacing outside 0.05 to 20 mm, or header and row disagree.
        GantryTilt: z and y are not perpendicular, and all else is.
        ObliqueGeometry: more than 30 degrees from the body's axes.
    """
    header = stored.blank if stored.affine is None and _confirms(row) else stored.affine
    if header is None:
        affine, remark = _affine_of_row(stored, row, source)
        lengths = _sound_lengths(affine, source)
    else:
        affine, remark = header, stored.geometry
        lengths = _as_written(_sound_lengths(affine, source))
        if row is not None and row.spacing is not None:
            lengths = _agreed(lengths, _axes(affine), row.spacing, source)
            remark = f"{remark}; spacing as the decimals of the metadata row, which agree"
    directions = affine[:3, :3] / _lengths(affine)
    directions[np.abs(directions) < _STRAIGHT] = 0
    settled = affine.astype(np.float64)
    settled[:3, :3] = directions / _lengths(directions) * lengths
    _require_square(settled, stored.voxels.shape, source)
    _require_near_axes(settled, stored.voxels.shape, source)
    return settled, remark


def to_lps(array: NDArray[Any], affine: Affine) -> LPSGrid:
    """Turn Hounsfield units to LPS order: a view where axes are swapped and flipped, a new array only where they are oblique.

    Axes that are nearly perpendicular are squared first. Oblique axes are resampled linearly at the same spacing, with air around, unless
    no voxel moves by more than half a voxel. `affine` is one that `resolve_affine` gave.
    """
    axes = _axes(affine)
    turned = array.transpose(axes)
    linear, offset = affine[:3, axes], affine[:3, 3].copy()
    for axis in range(3):
        if linear[axis, axis] < 0:
            turned = np.flip(turned, axis)
            offset += linear[:, axis] * (turned.shape[axis] - 1)
            linear[:, axis] *= -1
    drift = float(_drifts(linear, turned.shape).max())
    notes: tuple[str, ...] = ()
    if _SAME_PLACE < drift < _MOST_DRIFT:
        centre = offset + linear @ (np.array(turned.shape) - 1) / 2
        linear = _squared(linear)
        offset = centre - linear @ (np.array(turned.shape) - 1) / 2
        notes = (f"axes that are not quite perpendicular squared: over the scan no voxel drifts by more than {drift:.2f} voxels",)
    spacing = _lengths(linear)
    half = (np.array(turned.shape) - 1) / 2
    tilt = linear - np.diag(spacing)
    moved = float((np.abs(tilt) @ half / spacing).max())
    if moved > 0.5:
        return _straightened(turned, linear, offset, notes)
    grid = np.diag([*spacing, 1.0])
    grid[:3, 3] = offset + tilt @ half  # the centre stays where it is
    note = f"axes {_degrees_off(linear):.2f} degrees oblique taken as aligned: no voxel moves by more than {moved:.2f} voxels"
    return LPSGrid(array=turned, spacing=_triple(spacing), affine=grid, repaired=(*notes, note) if moved > _SAME_PLACE else notes)


def _confirms(row: MetadataRow | None) -> bool:
    """Tell whether a row says what a blank header says, so that its axes may be meant as well."""
    return row is not None and row.spacing == (1.0, 1.0, 1.0) and row.orientation is None


def _affine_of_row(stored: StoredScan, row: MetadataRow | None, source: str) -> tuple[Affine, str]:
    if row is None or row.spacing is None:
        lack = "there is no metadata row" if row is None else "the metadata row has no spacing"
        hint = "Give the table with the scan's row, XYSpacing and ZSpacing in it (--metadata FILE.csv)."
        if stored.blank is not None:
            hint += ' Are voxels of 1 mm meant, write {"XYSpacing": [1, 1], "ZSpacing": 1} into a file (--metadata FILE.json).'
        raise GeometryUnknown(f"the header does not say where its voxels are ({stored.geometry}), and {lack}", hint=hint, source=source)
    i, j = np.reshape(row.orientation or (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (2, 3)).astype(np.float64)
    if not (np.allclose([i @ i, j @ j, i @ j], [1, 1, 0], rtol=0, atol=1e-3) and min(row.spacing) > 0):
        raise GeometryInvalid(
            f"the metadata row's spacing {row.spacing} must be positive, and its ImageOrientationPatient"
            f" {row.orientation} two perpendicular unit vectors",
            hint="Correct the row.",
            source=source,
        )
    affine = np.eye(4)
    affine[:3, :3] = np.stack([i, j, np.cross(i, j)], axis=1)
    affine[:3, :3] *= np.array(row.spacing) / _lengths(affine)
    orientation = "no orientation, so voxels as left, posterior, superior" if row.orientation is None else "ImageOrientationPatient"
    position = f", PatientPosition {row.position} (turns nothing)" if row.position in _POSITIONS else ""
    return affine, f"metadata row: spacing, {orientation}{position}; header not used: {stored.geometry}"


def _sound_lengths(affine: Affine, source: str) -> Vector:
    """Lengths of the three axes in mm, once the affine is known to be finite, regular and of sane spacing."""
    hint = "The header is damaged: convert the scan again from its source."
    if affine.shape != (4, 4) or not (np.abs(affine) < _FARTHEST_MM).all():
        raise GeometryInvalid(f"expected a 4 x 4 affine of finite numbers below {_FARTHEST_MM:g} mm", hint=hint, source=source)
    lengths = _lengths(affine)
    if lengths.min() < SPACING_MM[0] or lengths.max() > SPACING_MM[1]:
        raise GeometryInvalid(f"expected spacing of {SPACING_MM[0]} to {SPACING_MM[1]} mm, is {_mm(lengths)}", hint=hint, source=source)
    directions = affine[:3, :3] / lengths
    if abs(np.linalg.det(directions)) < 0.5:
        raise GeometryInvalid("expected three axes that span space, the affine is nearly singular", hint=hint, source=source)
    return lengths


def _as_written(lengths: Vector) -> Vector:
    """A header's float32 is off by up to 6e-8, enough to lose a voxel of the resampled size: 0.6 mm is meant, not 0.60000002.

    Lengths that are no decimal of six digits (0.31640625, a mean step) are kept.
    """
    six = np.array([float(f"{length:.6g}") for length in lengths])
    return np.where(np.abs(six - lengths) <= _HEADER_DIGITS * lengths, six, lengths)


def _agreed(lengths: Vector, axes: list[int], spacing: Spacing, source: str) -> Vector:
    """The row's spacing, brought from x, y, z to the order of the stored axes."""
    decimal = np.empty(3)
    decimal[axes] = spacing
    if not np.allclose(decimal, lengths, rtol=_ROW_AGREES, atol=0):
        raise GeometryInvalid(
            f"header and metadata row disagree: spacing {_mm(lengths)} against {_mm(decimal)}",
            hint="Is it the row of another volume? Give the right one, or none.",
            source=source,
        )
    return decimal


def _drifts(affine: Affine, shape: tuple[int, ...]) -> Vector:
    """How far the end of each axis (columns) has slid along another (rows), in voxels of that other, where axes are not perpendicular."""
    lengths = _lengths(affine)
    directions = affine[:3, :3] / lengths
    cosines = np.abs(directions.T @ directions)
    np.fill_diagonal(cosines, 0)
    extents: Vector = lengths * shape
    return np.asarray(cosines * extents / lengths[:, None])


def _require_square(affine: Affine, shape: tuple[int, ...], source: str) -> None:
    """Refuse axes that are not perpendicular, by name: slices that slide along the body's y alone are what a tilted gantry makes."""
    drifts = _drifts(affine, shape)
    if drifts.max() < _MOST_DRIFT:
        return
    directions = affine[:3, :3] / _lengths(affine)
    cosines = np.abs(directions.T @ directions - np.diag(np.ones(3)))
    degrees = float(np.degrees(np.arcsin(min(1.0, cosines.max()))))
    _, y, z = _axes(affine)
    drifts[[y, z], [z, y]] = 0
    if drifts.max() < _MOST_DRIFT:
        raise GantryTilt(
            f"axes y and z are {degrees:.2f} degrees off perpendicular, as from a tilted gantry",
            hint="Undo the tilt with a tool that resamples the slices, or take an untilted series.",
            source=source,
        )
    raise GeometryInvalid(
        f"axes are sheared, {degrees:.2f} degrees off perpendicular: over the scan voxels drift by more than half their size",
        hint="Resample the scan to perpendicular axes, or convert it again from its source.",
        source=source,
    )


def _squared(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same steps along the nearest perpendicular axes, by the polar decomposition."""
    lengths = _lengths(linear)
    left, _, right = np.linalg.svd(linear / lengths)
    directions = left @ right
    directions[np.abs(directions) < _STRAIGHT] = 0
    return np.asarray(directions / np.linalg.norm(directions, axis=0) * lengths)


def _require_near_axes(affine: Affine, shape: tuple[int, ...], source: str) -> None:
    linear = affine[:3, _axes(affine)]
    hint = "Resample the scan to axial slices first."
    if (degrees := _degrees_off(linear)) > OBLIQUE_DEGREES:
        raise ObliqueGeometry(
            f"axes are {degrees:.1f} degrees off the body's, at most {OBLIQUE_DEGREES:.0f} are resampled", hint=hint, source=source
        )
    grown = np.prod(_box(linear, [shape[axis] for axis in _axes(affine)])) / max(np.prod(shape, dtype=np.float64), 1)
    if grown > _TURNED_GROWS:
        raise ObliqueGeometry(f"turned to the body's axes it would take {grown:.0f} times its voxels", hint=hint, source=source)


def _straightened(array: NDArray[Any], linear: NDArray[np.float64], offset: Vector, notes: tuple[str, ...]) -> LPSGrid:
    """Linear resampling onto the smallest LPS grid of the same spacing and centre that holds the whole scan."""
    spacing, shape = _lengths(linear), _box(linear, array.shape)
    grid = np.diag([*spacing, 1.0])
    grid[:3, 3] = offset + linear @ (np.array(array.shape) - 1) / 2 - spacing * (shape - 1) / 2
    inverse = np.linalg.inv(linear)
    straight = ndimage.affine_transform(
        array.T,  # x fastest, as scans lie in memory: twice as fast
        (inverse @ grid[:3, :3])[::-1, ::-1],
        offset=(inverse @ (grid[:3, 3] - offset))[::-1],
        output_shape=tuple(int(n) for n in shape[::-1]),
        output=array.dtype,  # integers are rounded, not cut
        order=1,
        mode="constant",
        cval=AIR_HU,
    ).T
    note = f"axes {_degrees_off(linear):.2f} degrees oblique: resampled linearly to the body's axes, {AIR_HU} HU around"
    return LPSGrid(array=straight, spacing=_triple(spacing), affine=grid, repaired=(*notes, note))


def _axes(affine: Affine) -> list[int]:
    """For x, y and z the array axis that lies nearest."""
    directions = np.abs(affine[:3, :3] / _lengths(affine))
    return max((list(order) for order in itertools.permutations(range(3))), key=lambda order: directions[[0, 1, 2], order].sum())


def _lengths(affine: NDArray[np.float64]) -> Vector:
    """Millimetres a step along each array axis: exact along the body's axes, and to 12 digits, beyond rounding, elsewhere."""
    linear = affine[:3, :3].astype(np.float64)
    one_entry = np.count_nonzero(linear, axis=0) == 1
    slanted = np.array([float(f"{length:.12g}") for length in np.linalg.norm(linear, axis=0)])
    return np.where(one_entry, np.abs(linear).sum(axis=0), slanted)


def _degrees_off(linear: NDArray[np.float64]) -> float:
    """The largest angle between an axis and the body's axis of the same place."""
    return float(np.degrees(np.arccos(np.clip(np.abs(np.diagonal(linear)) / np.linalg.norm(linear, axis=0), 0, 1)).max()))


def _box(linear: NDArray[np.float64], shape: tuple[int, ...] | list[int]) -> Vector:
    """Voxels along x, y, z of the upright box around a turned one; a hair more than a whole step is rounding."""
    steps: Vector = np.abs(linear) @ (np.array(shape) - 1) / _lengths(linear)
    return np.asarray(np.ceil(steps - 1e-6) + 1)


def _triple(vector: Vector) -> Spacing:
    x, y, z = (float(value) for value in vector)
    return x, y, z


def _mm(vector: Vector) -> str:
    return " x ".join(f"{value:.7g}" for value in vector) + " mm"
