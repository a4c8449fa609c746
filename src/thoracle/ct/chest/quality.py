"""Check whether a volume is a chest, complete, and of the kind the published models saw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thoracle.ct.chest.chest_box import ChestBox, cut_faces, find_chest_box
from thoracle.ct.chest.contrast import is_enhanced
from thoracle.ct.chest.lungs import CELL_MM, Mask, coarse_cells, find_lung, find_outside
from thoracle.ct.geometry.lps import AIR_HU
from thoracle.ct.volume import HeaderTags, Volume
from thoracle.types import HounsfieldArray, Spacing

_LUNG_LITRES = 0.5  # adults have 2 to 7, one lung after removal of the other about 1, children of three years 0.5
_LUNG_HEIGHT_MM = 120.0  # what an abdominal scan shows of the lungs' bases stays below
_SLAB_AREA_CM2 = 80.0  # lung in a slice, where a scan is a slab with lung at both ends; one adult lung has 120

_AIR_RANGE = (-1200.0, -500.0)  # HU of what may be air, whatever the scale; lower is padding
_AIR_OFF = 60.0  # HU that air around the body may be off its -1000
_LOWER_SPREAD = 40.0  # HU; nothing is thinner than air, so that its values end sharply, and those of a cut lung do not
_RIM_PLANES = 16

_LARGEST_STEP_MM = 6.0  # CT-RATE's thickest slices
_SMALLEST_FIELD_MM = (250.0, 180.0, 180.0)
_ADULT_YEARS = 18.0


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Hold what a volume shows: coverage, lung, warnings.

    Attributes:
        is_chest: lungs, or a slab or large part of them, are in it.
        lung_litres: air-filled lung found.
        lung_height_mm: from its lowest to its highest slice.
        lung_cut: faces of the volume that cut through lung ("top", "bottom", "left", "right", "front", "back").
        coverage: the same in words.
        box: of the lungs, or of the body; None where there is no chest.
        enhanced: whether its blood holds contrast agent; None where that cannot be judged.
        warnings: sentences on what is unlike the scans the published models saw; empty if nothing is.
    """

    is_chest: bool
    lung_litres: float
    lung_height_mm: float
    lung_cut: tuple[str, ...]
    coverage: str
    box: ChestBox | None
    enhanced: bool | None
    warnings: tuple[str, ...]


def assess(volume: Volume) -> Quality:
    """Judge one volume; about a tenth of a second, a few megabytes."""
    cells, cell = coarse_cells(volume.array, volume.spacing)
    outside = find_outside(cells)
    lung = find_lung(cells, cell, outside)
    litres = float(np.count_nonzero(lung) * np.prod(cell) / 1e6)
    slices = np.flatnonzero(lung.any(axis=(0, 1)))
    height = float((slices[-1] - slices[0] + 1) * cell[2]) if slices.size else 0.0
    cut = cut_faces(lung, cell)
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
        box=find_chest_box(cells, lung, cell, outside=outside, spacing=volume.spacing, affine=volume.affine),
        enhanced=enhanced,
        warnings=(
            *_seen(is_chest, coverage, cut),
            *units,
            *_geometry(volume),
            *_tagged(volume.tags, enhanced=enhanced),
        ),
    )


def air_around(array: HounsfieldArray, spacing: Spacing) -> float | None:
    """Measure the air around the body where it reaches the rim of the slices, or the padding that surrounds their field of view.

    Returns:
        Its mode in HU; None where a slice's rim is body, or cuts through lung.
    """
    widths = [max(1, min(length, int(CELL_MM / step + 0.25))) for length, step in zip(array.shape[:2], spacing, strict=False)]
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


def _rim(cells: NDArray[np.float32], padded: Mask) -> NDArray[np.float32]:
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
