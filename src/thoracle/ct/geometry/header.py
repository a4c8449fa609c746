"""Judge what a header says of its own geometry: nothing, or lengths in a unit."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from thoracle.ct.geometry.axes import STRAIGHT
from thoracle.errors import GeometryInvalid
from thoracle.types import Affine

SPACING_MM: Final = (0.05, 20.0)
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


def is_blank(affine: Affine) -> bool:
    """Tell whether an affine is what writers put where nobody has set one: axes in any order and direction at exactly 1 mm, any origin.

    SimpleITK writes it for an array without spacing (as diag(-1, -1, 1) into NIfTI), nibabel for `np.eye(4)`, pynrrd for unit directions.
    """
    linear = affine[:3, :3]
    if not np.isfinite(linear).all():
        return False
    steps = np.abs(linear)
    whole = np.rint(steps)
    return bool(np.abs(steps - whole).max() < STRAIGHT and (whole.sum(axis=0) == 1).all() and (whole.sum(axis=1) == 1).all())


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
