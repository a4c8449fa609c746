"""Check whether a volume is a chest, complete, and of the kind the published models saw.

A chest is lung-shaped air inside a body. What else is like air is told apart by where and what it is: air around the body reaches the
edge of its slice; foam, clothes and blankets lie in that air; gas in stomach and bowel is thinner than lung; the half-filled voxels
along every skin are one voxel thick.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from thoracle.ct.contrast import is_enhanced
from thoracle.ct.geometry.lps import AIR_HU
from thoracle.ct.volume import HeaderTags, Volume
from thoracle.types import HounsfieldArray, Spacing

_CELL_MM = 4.5  # coarse grid: finer than a lobe's edge, coarser than noise and bronchi
_AIR, _THIN_LUNG, _GAS, _TISSUE = -940.0, -950.0, -500.0, -250.0  # HU of a cell: below, above, below, above
_LUNG_LITRES = 0.5  # adults have 2 to 7, one lung after removal of the other about 1, children of three years 0.5
_PART_LITRES = 0.05  # what is smaller and apart is a bubble in the bowel, or does not matter
_LUNG_HEIGHT_MM = 120.0  # what an abdominal scan shows of the lungs' bases stays below
_SLAB_AREA_CM2 = 80.0  # lung in a slice, where a scan is a slab with lung at both ends; one adult lung has 120
_CUT_AREA_CM2 = 10.0  # lung on a face of the volume; less is the rim of a lung that just ends there
_FACES = ("right", "left", "front", "back", "bottom", "top")

_AIR_RANGE = (-1200.0, -500.0)  # HU of what may be air, whatever the scale; lower is padding
_AIR_OFF = 60.0  # HU that air around the body may be off its -1000
_LOWER_SPREAD = 40.0  # HU; nothing is thinner than air, so that its values end sharply, and those of a cut lung do not
_RIM_PLANES = 16

_LARGEST_STEP_MM = 6.0  # CT-RATE's thickest slices
_SMALLEST_FIELD_MM = (250.0, 180.0, 180.0)
_ADULT_YEARS = 18.0

_Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Hold what a volume shows: coverage, lung, warnings.

    Attributes:
        is_chest: lungs, or a slab or large part of them, are in it.
        lung_litres: air-filled lung found.
        lung_height_mm: from its lowest to its highest slice.
        lung_cut: faces of the volume that cut through lung ("top", "bottom", "left", "right", "front", "back").
        coverage: the same in words.
        enhanced: whether its blood holds contrast agent; None where that cannot be judged.
        warnings: sentences on what is unlike the scans the published models saw; empty if nothing is.
    """

    is_chest: bool
    lung_litres: float
    lung_height_mm: float
    lung_cut: tuple[str, ...]
    coverage: str
    enhanced: bool | None
    warnings: tuple[str, ...]


def assess(volume: Volume) -> Quality:
    """Judge one volume; about a tenth of a second, a few megabytes."""
    cells, cell = _coarse(volume.array, volume.spacing)
    lung = _lung(cells, cell)
    litres = float(np.count_nonzero(lung) * np.prod(cell) / 1e6)
    slices = np.flatnonzero(lung.any(axis=(0, 1)))
    height = float((slices[-1] - slices[0] + 1) * cell[2]) if slices.size else 0.0
    cut = _cut(lung, cell)
    slab = {"top", "bottom"} <= set(cut) and litres * 1e4 > _SLAB_AREA_CM2 * height
    is_chest = slab or (litres >= _LUNG_LITRES and height >= _LUNG_HEIGHT_MM)
    coverage = _coverage(litres, height, cut)
    enhanced = is_enhanced(cells, lung, cell)
    units = _units(air_around(volume.array, volume.spacing))
    return Quality(
        is_chest=is_chest,
        lung_litres=round(litres, 2),
        lung_height_mm=round(height),
        lung_cut=cut,
        coverage=coverage,
        enhanced=enhanced,
        warnings=(
            *_seen(is_chest, coverage, cut),
            *units,
            *_geometry(volume),
            *_tagged(volume.tags, enhanced=enhanced),
        ),
    )


def lung_cells(array: HounsfieldArray, spacing: Spacing) -> tuple[_Mask, tuple[float, ...]]:
    """Find cells (x, y, z) of about 4.5 mm that are air-filled lung, and the size of a cell in mm; the first begins at the array's
    corner.
    """
    cells, cell = _coarse(array, spacing)
    return _lung(cells, cell), cell


def _coarse(array: HounsfieldArray, spacing: Spacing) -> tuple[NDArray[np.float32], tuple[float, ...]]:
    """Means over cells of about 4.5 mm, of fine voxels every second along each axis; and the cells' size in mm."""
    widths = [max(1, min(length, int(_CELL_MM / step + 0.25))) for length, step in zip(array.shape, spacing, strict=True)]
    strides = [max(1, width // 2) for width in widths]
    counts = [width // stride for width, stride in zip(widths, strides, strict=True)]
    periods = [stride * count for stride, count in zip(strides, counts, strict=True)]
    cropped = array[tuple(slice(0, length - length % period) for length, period in zip(array.shape, periods, strict=True))]
    sums = np.zeros_like(cropped[tuple(slice(None, None, period) for period in periods)], dtype=np.float32)
    for corner in np.ndindex(*counts):
        picked = tuple(slice(at * stride, None, period) for at, stride, period in zip(corner, strides, periods, strict=True))
        # Clipped, so that padding is air and metal does not outweigh its cell.
        sums += np.clip(cropped[picked], -1024, 1000)
    return sums / np.prod(counts, dtype=np.float32), tuple(period * step for period, step in zip(periods, spacing, strict=True))


def _lung(cells: NDArray[np.float32], cell: tuple[float, ...]) -> _Mask:
    """Cells of air-filled lung."""
    upright = np.ascontiguousarray(cells.T)  # (z, y, x), as scans lie in memory: neighbours are found along a slice's rows
    outside = _outside(upright)
    airy = (upright < _GAS) & ~outside
    inside = ~_grown(~airy)
    parts, count = ndimage.label(_grown(inside) & airy)
    lung = np.zeros(upright.shape, dtype=bool)
    least = _PART_LITRES * 1e6 / np.prod(cell)
    for part, box in enumerate(ndimage.find_objects(parts, max_label=count), start=1):
        around = tuple(slice(max(0, side.start - 2), side.stop + 2) for side in box)
        mask = parts[around] == part
        if np.count_nonzero(mask) >= least and _is_lung(mask, upright[around], outside[around], inside[around]):
            lung[around] |= mask
    return lung.T


def _outside(upright: NDArray[np.float32]) -> _Mask:
    """Air that reaches a side of its own slice; slice by slice, as the windpipe reaches the air before the face."""
    within_slice = np.zeros((3, 3, 3), dtype=bool)
    within_slice[1, :, 1] = within_slice[1, 1, :] = True
    parts, count = ndimage.label(upright < _AIR, structure=within_slice)
    touching = np.zeros(count + 1, dtype=bool)
    for side in (parts[:, 0], parts[:, -1], parts[:, :, 0], parts[:, :, -1]):
        touching[side] = True
    touching[0] = False
    outside: _Mask = touching.take(parts)
    return outside


def _grown(mask: _Mask) -> _Mask:
    """With the six neighbours of each cell; `scipy.ndimage.binary_dilation` takes ten times as long."""
    grown = mask.copy()
    for axis in range(3):
        ahead, behind = np.moveaxis(grown, axis, 0), np.moveaxis(mask, axis, 0)
        ahead[1:] |= behind[:-1]
        ahead[:-1] |= behind[1:]
    return grown


def _is_lung(mask: _Mask, cells: NDArray[np.float32], outside: _Mask, inside: _Mask) -> bool:
    """Wrapped in tissue, not in air, and denser than the gas of a bowel; even severe emphysema leaves a fifth of a lung so."""
    near = _grown(mask)
    wrap = _grown(near) & ~near
    core = mask & inside
    dense = np.count_nonzero(cells[core] > _THIN_LUNG) > 0.2 * np.count_nonzero(core)
    walls, open_air = np.count_nonzero(cells[wrap] > _TISSUE), np.count_nonzero(outside[wrap])
    around = np.count_nonzero(wrap)
    return bool(dense and walls >= 0.5 * around and open_air <= 0.3 * around)


def _cut(lung: _Mask, cell: tuple[float, ...]) -> tuple[str, ...]:
    areas = []
    for axis in range(3):
        face = np.prod(cell) / cell[axis] / 100
        areas += [np.count_nonzero(np.moveaxis(lung, axis, 0)[end]) * face for end in (0, -1)]
    return tuple(name for name, area in zip(_FACES, areas, strict=True) if area > _CUT_AREA_CM2)


def air_around(array: HounsfieldArray, spacing: Spacing) -> float | None:
    """Measure the air around the body where it reaches the rim of the slices, or the padding that surrounds their field of view.

    Returns:
        Its mode in HU; None where a slice's rim is body, or cuts through lung.
    """
    widths = [max(1, min(length, int(_CELL_MM / step + 0.25))) for length, step in zip(array.shape[:2], spacing, strict=False)]
    planes = array[..., :: max(1, -(-array.shape[2] // _RIM_PLANES))].T.astype(np.float32)
    rows, columns = planes.shape[1] // widths[1], planes.shape[2] // widths[0]
    blocks = planes[:, : rows * widths[1], : columns * widths[0]].reshape(-1, rows, widths[1], columns, widths[0])
    padding, corner = blocks < _AIR_RANGE[0], float(array[0, 0, 0])
    if not _AIR_RANGE[0] <= corner < _AIR_RANGE[1]:
        padding |= blocks == corner
    rim = _rim(blocks.mean(axis=(2, 4)), np.asarray(padding.any(axis=(2, 4))))
    air = rim[(rim >= _AIR_RANGE[0]) & (rim < _AIR_RANGE[1])]
    if air.size < 0.05 * rim.size or not air.size:
        return None
    counts, edges = np.histogram(air, bins=np.arange(*_AIR_RANGE, 10))
    smooth = np.convolve(counts, np.ones(3), mode="same")
    peak = float(edges[smooth.argmax()]) + 5
    mode = float(np.median(air[np.abs(air - peak) < 20]))
    lower = air[air < mode]
    if np.count_nonzero(lower < mode - _LOWER_SPREAD) <= 0.1 * lower.size:
        return mode
    # Clothes, blankets and the table may fill most of the rim; the air beyond them still ends sharply.
    thinnest, edge = np.percentile(air, (1, 5))
    return float(edge) if edge - thinnest < _LOWER_SPREAD / 2 else None


def _rim(cells: NDArray[np.float32], padded: _Mask) -> NDArray[np.float32]:
    """Values of cells (z, y, x) on the four sides of each slice; behind padding those next to it."""
    values = []
    for axis in (1, 2):
        for order in (slice(None), slice(None, None, -1)):
            line, beyond = np.moveaxis(cells, axis, 0)[order], np.moveaxis(padded, axis, 0)[order]
            first = np.argmin(beyond, axis=0)
            picked = np.take_along_axis(line, first[None], axis=0)[0]
            values.append(picked[~np.take_along_axis(beyond, first[None], axis=0)[0]])
    return np.concatenate(values)


# Sentences


def _coverage(litres: float, height: float, cut: tuple[str, ...]) -> str:
    if not litres:
        return "no lung found"
    lungs = f"{litres:.1f} litres of lung over {height:.0f} mm"
    return f"{lungs}, cut at {_listed(cut)}" if cut else f"{lungs}, nothing cut"


def _listed(words: tuple[str, ...]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _seen(is_chest: bool, coverage: str, cut: tuple[str, ...]) -> list[str]:
    if not is_chest:
        return [f"This does not look like a chest: {coverage}."]
    return [f"Not all of the lungs is in the scan: cut at {_listed(cut)}."] if cut else []


def _units(air: float | None) -> list[str]:
    if air is None or abs(air - AIR_HU) <= _AIR_OFF:
        return []
    return [f"Air around the body is at {air:.0f} HU, not at {AIR_HU}: a factor or an offset may part its numbers from Hounsfield units."]


def _geometry(volume: Volume) -> list[str]:
    warnings = []
    if volume.spacing[2] > _LARGEST_STEP_MM:
        warnings.append(f"Slices are {volume.spacing[2]:.1f} mm apart; CT-RATE's are at most {_LARGEST_STEP_MM:.0f}.")
    field = [length * step for length, step in zip(volume.array.shape, volume.spacing, strict=True)]
    if any(extent < least for extent, least in zip(field, _SMALLEST_FIELD_MM, strict=True)):
        extents = " x ".join(f"{extent:.0f}" for extent in field)
        warnings.append(f"The field of view is small: {extents} mm (across, deep, high); a chest takes about 300 x 220 x 250.")
    return warnings


def _tagged(tags: HeaderTags, *, enhanced: bool | None) -> list[str]:
    warnings = [*tags.warnings]
    if tags.contrast or enhanced:
        source = "header tells of a contrast agent" if tags.contrast else "blood in heart and great vessels is contrast-enhanced"
        warnings.append(f"The {source}: outside CT-RATE, whose scans are without.")
    if tags.age_years is not None and tags.age_years < _ADULT_YEARS:
        warnings.append(f"The patient is {_age(tags.age_years)} old: outside CT-RATE, whose patients are adults.")
    return warnings


def _age(years: float) -> str:
    return f"{years:.0f} years" if years >= 2 else f"{years * 12:.0f} months"
