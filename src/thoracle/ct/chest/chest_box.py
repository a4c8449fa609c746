"""Find the box of the lungs, or of the body where no lung is found: a frame in which places of different patients can be compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from thoracle.ct.chest.lungs import TISSUE, Mask, grown
from thoracle.ct.chest.opaque_bases import hidden_mm
from thoracle.types import Affine, Spacing

FACES: Final = ("right", "left", "front", "back", "bottom", "top")
_PART_SHARE: Final = 0.15  # of the largest core; a part with a smaller one is a gap between arm and chest
_RIM_HU: Final = -350.0  # of a cell: half-filled lung at the rim
_RIM_STEPS: Final = 5
_GAS_SHARE: Final = 0.4  # of the largest core; gas has a smaller one
_GAS_HU: Final = -940.0  # median of its core, at most
_GAS_STEPS: Final = 6  # cells from its core to its edge
_APEX_CM2: Final = 5.0  # lung in its highest plane; less is the windpipe
_RECESS_MM: Final = 4.0  # at the end of a recess is thinner lung than fills half a cell
_CUT_CM2: Final = 10.0  # lung on a face of the volume; less is the rim of a lung that just ends there
_SMALLEST_BODY_MM: Final = (200.0, 120.0)  # across and deep; a head or a limb is smaller


@dataclass(frozen=True, kw_only=True)
class ChestBox:
    """Hold a box in a scan's own LPS millimetres.

    Attributes:
        low: right, front and bottom face.
        high: left, back and top face.
        encloses: what it is the box of. Where no lung is found it is the body's, as high as the scan.
        cut: faces at which the scan ends before what is enclosed does: the true box is larger there.
    """

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    encloses: Literal["lungs", "body"]
    cut: tuple[str, ...]

    def as_text(self) -> str:
        """Say where the box lies, for a reader of the terminal."""
        ranges = "; ".join(f"{low:.0f} to {high:.0f}" for low, high in zip(self.low, self.high, strict=True))
        ends = f", cut at {', '.join(self.cut)}" if self.cut else ""
        return f"{self.encloses}: {ranges} mm towards left, posterior, superior{ends}"


def find_chest_box(
    cells: NDArray[np.float32], lung: Mask, cell: tuple[float, ...], *, outside: Mask, spacing: Spacing, affine: Affine
) -> ChestBox | None:
    """Find the box of the lungs, or of a body as large as a chest's; None where there is neither.

    Args:
        cells, cell: as `coarse_cells` gives them.
        lung: as `find_lung` gives it.
        outside: as `find_outside` gives it.
        spacing, affine: of the volume.
    """
    if lung.any():
        inside = _with_rim(cells, lung, outside)
        encloses: Literal["lungs", "body"] = "lungs"
    else:
        inside, encloses = _body(cells), "body"
        extents = [(b - a) * size for (a, b), size in zip(_ends(inside), cell, strict=True)]
        if extents[0] < _SMALLEST_BODY_MM[0] or extents[1] < _SMALLEST_BODY_MM[1]:
            return None
    ends = _ends(inside)
    if encloses == "lungs":
        areas = inside.sum(axis=(0, 1)) * cell[0] * cell[1] / 100
        ends[2] = (ends[2][0], int(np.flatnonzero(areas > min(_APEX_CM2, areas.max() / 2))[-1]) + 1)
    corner = affine[:3, 3] - np.asarray(spacing) / 2
    faces = np.array([[c + size * end[side] for c, size, end in zip(corner, cell, ends, strict=True)] for side in (0, 1)])
    cut = cut_faces(inside, cell)
    if encloses == "lungs":
        behind, below = hidden_mm(cells, inside, ends, cell)
        faces[1, 1] += 0 if "back" in cut else behind
        faces[0, 2] -= 0 if "bottom" in cut else max(below, _RECESS_MM)
    low, high = (tuple(round(float(face), 1) for face in side) for side in faces)
    return ChestBox(low=low, high=high, encloses=encloses, cut=cut)  # type: ignore[arg-type]


def cut_faces(mask: Mask, cell: tuple[float, ...]) -> tuple[str, ...]:
    """Name the faces of the volume that cut through what a mask of cells holds."""
    areas = []
    for axis in range(3):
        face = np.prod(cell) / cell[axis] / 100
        areas += [np.count_nonzero(np.moveaxis(mask, axis, 0)[end]) * face for end in (0, -1)]
    return tuple(name for name, area in zip(FACES, areas, strict=True) if area > _CUT_CM2)


def _with_rim(cells: NDArray[np.float32], lung: Mask, outside: Mask) -> Mask:
    """Keep the large parts of the lung, and add their half-filled rim, which thin recesses are made of."""
    upright, lung = np.ascontiguousarray(cells.T), np.ascontiguousarray(lung.T)  # (z, y, x), as scans lie in memory
    core = ~grown(grown(~lung))
    gas = _bowel_gas(upright, lung, core)
    parts, _ = ndimage.label(lung & ~gas)
    sizes = np.bincount(parts[core], minlength=int(parts.max()) + 1)
    sizes[0] = 0
    large_parts: Mask = (sizes >= _PART_SHARE * sizes.max()).take(parts) & (parts > 0)
    airy = (upright < _RIM_HU) & ~gas & ~np.ascontiguousarray(outside.T)
    lungs = large_parts
    for _ in range(_RIM_STEPS):
        lungs = (grown(lungs) & airy) | large_parts
    return lungs.T


def _bowel_gas(upright: NDArray[np.float32], lung: Mask, core: Mask) -> Mask:
    """Find gas beneath the diaphragm, which half-filled cells join with lung.

    It is thin, and its core (what is two cells from any edge) is small, apart, and reaches lower than those of the lungs.
    """
    cores, count = ndimage.label(core)
    sizes = np.bincount(cores.ravel(), minlength=count + 1)[1:]
    boxes = ndimage.find_objects(cores, max_label=count)
    bottoms = np.array([box[0].start for box in boxes])
    lungs = sizes > _GAS_SHARE * sizes.max(initial=0)
    below = np.flatnonzero(~lungs & (bottoms < bottoms[lungs].min(initial=len(upright)))) + 1
    gaseous = np.zeros(count + 1, dtype=bool)
    for part in below:
        box = boxes[part - 1]
        gaseous[part] = np.median(upright[box][cores[box] == part]) < _GAS_HU
    gas: Mask = gaseous.take(cores)
    if not gaseous.any():
        return gas
    beyond = core & ~gas
    for _ in range(_GAS_STEPS):
        beyond = grown(beyond) & lung & ~gas
        gas = grown(gas) & lung & ~beyond
    return grown(gas) & ~beyond


def _body(cells: NDArray[np.float32]) -> Mask:
    """Keep the largest piece of tissue, without what only touches it: table, blankets, tubes."""
    core = ~grown(~(cells > TISSUE))
    parts, count = ndimage.label(core)
    if not count:
        return np.zeros(cells.shape, dtype=bool)
    largest = parts == 1 + int(np.argmax(ndimage.sum_labels(core, parts, range(1, count + 1))))
    return grown(largest)


def _ends(mask: Mask) -> list[tuple[int, int]]:
    """Return the first and one past the last cell along each axis; (0, 0) of an empty mask."""
    if not mask.any():
        return [(0, 0)] * 3
    planes = [np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis))) for axis in range(3)]
    return [(int(indices[0]), int(indices[-1]) + 1) for indices in planes]
