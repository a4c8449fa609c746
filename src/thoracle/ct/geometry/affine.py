"""Resolve a trustworthy affine out of a header and a row of metadata.

All millimetres are DICOM's LPS frame (PS3.3 C.7.6.2.1.1). ImageOrientationPatient is already in the patient's coordinates, so
PatientPosition (head or feet first) does not turn the axes a second time; it is only said.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from thoracle.ct.geometry.axes import MOST_DRIFT, STRAIGHT, Vector, axis_order, degrees_off, drifts_of, step_lengths, upright_box
from thoracle.ct.geometry.header import SPACING_MM
from thoracle.ct.metadata import MetadataRow
from thoracle.ct.stored import StoredScan
from thoracle.errors import GantryTilt, GeometryInvalid, GeometryUnknown, ObliqueGeometry
from thoracle.types import Affine, Spacing

OBLIQUE_DEGREES: Final = 30.0  # further from the body's axes, "axial" slices are another view
_FARTHEST_MM: Final = 1e6  # no scanner's origin is a kilometre away
# PS3.3 C.7.3.1.1.2 without quadrupeds; anything else in a table's cell might name a patient, and is not repeated.
_POSITIONS: Final = frozenset(("HFS", "HFP", "HFDL", "HFDR", "FFS", "FFP", "FFDL", "FFDR", "SITTING"))
_ROW_AGREES: Final = 1e-3  # relative; rows and headers of one scan differ by rounding only
_HEADER_DIGITS: Final = 1e-7  # relative; what float32 does to a decimal of six digits
_TURNED_GROWS: Final = 8  # times; a turned long thin box takes more voxels than a scan is worth


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
            lengths = _agreed(lengths, axis_order(affine), row.spacing, source)
            remark = f"{remark}; spacing as the decimals of the metadata row, which agree"
    directions = affine[:3, :3] / step_lengths(affine)
    directions[np.abs(directions) < STRAIGHT] = 0
    settled = affine.astype(np.float64)
    settled[:3, :3] = directions / step_lengths(directions) * lengths
    _require_square(settled, stored.voxels.shape, source)
    _require_near_axes(settled, stored.voxels.shape, source)
    return settled, remark


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
    affine[:3, :3] *= np.array(row.spacing) / step_lengths(affine)
    orientation = "no orientation, so voxels as left, posterior, superior" if row.orientation is None else "ImageOrientationPatient"
    position = f", PatientPosition {row.position} (turns nothing)" if row.position in _POSITIONS else ""
    return affine, f"metadata row: spacing, {orientation}{position}; header not used: {stored.geometry}"


def _sound_lengths(affine: Affine, source: str) -> Vector:
    """Lengths of the three axes in mm, once the affine is known to be finite, regular and of sane spacing."""
    hint = "The header is damaged: convert the scan again from its source."
    if affine.shape != (4, 4) or not (np.abs(affine) < _FARTHEST_MM).all():
        raise GeometryInvalid(f"expected a 4 x 4 affine of finite numbers below {_FARTHEST_MM:g} mm", hint=hint, source=source)
    lengths = step_lengths(affine)
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


def _require_square(affine: Affine, shape: tuple[int, ...], source: str) -> None:
    """Refuse axes that are not perpendicular, by name: slices that slide along the body's y alone are what a tilted gantry makes."""
    drifts = drifts_of(affine, shape)
    if drifts.max() < MOST_DRIFT:
        return
    directions = affine[:3, :3] / step_lengths(affine)
    cosines = np.abs(directions.T @ directions - np.diag(np.ones(3)))
    degrees = float(np.degrees(np.arcsin(min(1.0, cosines.max()))))
    _, y, z = axis_order(affine)
    drifts[[y, z], [z, y]] = 0
    if drifts.max() < MOST_DRIFT:
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


def _require_near_axes(affine: Affine, shape: tuple[int, ...], source: str) -> None:
    linear = affine[:3, axis_order(affine)]
    hint = "Resample the scan to axial slices first."
    if (degrees := degrees_off(linear)) > OBLIQUE_DEGREES:
        raise ObliqueGeometry(
            f"axes are {degrees:.1f} degrees off the body's, at most {OBLIQUE_DEGREES:.0f} are resampled", hint=hint, source=source
        )
    grown = np.prod(upright_box(linear, [shape[axis] for axis in axis_order(affine)])) / max(np.prod(shape, dtype=np.float64), 1)
    if grown > _TURNED_GROWS:
        raise ObliqueGeometry(f"turned to the body's axes it would take {grown:.0f} times its voxels", hint=hint, source=source)


def _mm(vector: Vector) -> str:
    return " x ".join(f"{value:.7g}" for value in vector) + " mm"
