"""Find air-filled lung in a volume, from thresholds on cells of about 4.5 mm.

Lung is air inside a body. What else is like air is told apart by where and what it is: air around the body reaches the edge of its slice;
foam, clothes and blankets lie in that air; gas in stomach and bowel is thinner than lung; the half-filled voxels along every skin are one
voxel thick.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from thoracle.types import HounsfieldArray, Spacing

CELL_MM = 4.5  # coarse grid: finer than a lobe's edge, coarser than noise and bronchi
_AIR, _THIN_LUNG, _GAS, TISSUE = -940.0, -950.0, -500.0, -250.0  # HU of a cell: below, above, below, above
_PART_LITRES = 0.05  # what is smaller and apart is a bubble in the bowel, or does not matter

Mask = NDArray[np.bool_]


def lung_cells(array: HounsfieldArray, spacing: Spacing) -> tuple[Mask, tuple[float, ...]]:
    """Find cells (x, y, z) of about 4.5 mm that are air-filled lung, and the size of a cell in mm; the first begins at the array's
    corner.
    """
    cells, cell = coarse_cells(array, spacing)
    return find_lung(cells, cell, find_outside(cells)), cell


def coarse_cells(array: HounsfieldArray, spacing: Spacing) -> tuple[NDArray[np.float32], tuple[float, ...]]:
    """Average over cells of about 4.5 mm, of fine voxels every second along each axis; and the cells' size in mm."""
    widths = [max(1, min(length, int(CELL_MM / step + 0.25))) for length, step in zip(array.shape, spacing, strict=True)]
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


def find_lung(cells: NDArray[np.float32], cell: tuple[float, ...], outside: Mask) -> Mask:
    """Find cells of air-filled lung among coarse cells; `outside` is that of `find_outside`."""
    # (z, y, x), as scans lie in memory: neighbours are found along a slice's rows
    upright, outside = np.ascontiguousarray(cells.T), np.ascontiguousarray(outside.T)
    airy = (upright < _GAS) & ~outside
    inside = ~grown(~airy)
    parts, count = ndimage.label(grown(inside) & airy)
    lung = np.zeros(upright.shape, dtype=bool)
    least = _PART_LITRES * 1e6 / np.prod(cell)
    for part, box in enumerate(ndimage.find_objects(parts, max_label=count), start=1):
        around = tuple(slice(max(0, side.start - 2), side.stop + 2) for side in box)
        mask = parts[around] == part
        if np.count_nonzero(mask) >= least and _is_lung(mask, upright[around], outside[around], inside[around]):
            lung[around] |= mask
    return lung.T


def find_outside(cells: NDArray[np.float32]) -> Mask:
    """Find air that reaches a side of its own slice; slice by slice, as the windpipe reaches the air before the face."""
    upright = np.ascontiguousarray(cells.T)
    within_slice = np.zeros((3, 3, 3), dtype=bool)
    within_slice[1, :, 1] = within_slice[1, 1, :] = True
    parts, count = ndimage.label(upright < _AIR, structure=within_slice)
    touching = np.zeros(count + 1, dtype=bool)
    for side in (parts[:, 0], parts[:, -1], parts[:, :, 0], parts[:, :, -1]):
        touching[side] = True
    touching[0] = False
    outside: Mask = touching.take(parts)
    return outside.T


def grown(mask: Mask) -> Mask:
    """Add the six neighbours of each cell; `scipy.ndimage.binary_dilation` takes ten times as long."""
    grown = mask.copy()
    for axis in range(3):
        ahead, behind = np.moveaxis(grown, axis, 0), np.moveaxis(mask, axis, 0)
        ahead[1:] |= behind[:-1]
        ahead[:-1] |= behind[1:]
    return grown


def _is_lung(mask: Mask, cells: NDArray[np.float32], outside: Mask, inside: Mask) -> bool:
    """Wrapped in tissue, not in air, and denser than the gas of a bowel; even a thin lung has a tenth so."""
    near = grown(mask)
    wrap = grown(near) & ~near
    core = mask & inside
    dense = np.count_nonzero(cells[core] > _THIN_LUNG) > 0.1 * np.count_nonzero(core)
    walls, open_air = np.count_nonzero(cells[wrap] > TISSUE), np.count_nonzero(outside[wrap])
    around = np.count_nonzero(wrap)
    return bool(dense and walls >= 0.5 * around and open_air <= 0.3 * around)
