"""Read masks of findings, as `thoracle phantom` writes them, onto the grid of a model's input.

A mask is a NIfTI of integers of its volume's shape and name: bit i is set where the i-th of `ABNORMALITIES` is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray

from thoracle.ct.geometry.lps import to_lps
from thoracle.ct.preprocess import Preprocessing, input_affine
from thoracle.ct.recipes.orientation import ZXY, reorder
from thoracle.ct.recipes.recipe import Recipe
from thoracle.ct.recipes.sampling import box_from_text
from thoracle.errors import InputError, ScanUnreadable
from thoracle.types import ABNORMALITIES

_MOST_VOXELS: Final = 1 << 29


def find_masks(folder: Path) -> dict[str, Path]:
    """List the files below FOLDER/masks by name, which is their volume's.

    Raises:
        InputError: there are none.
    """
    files = {path.name: path for path in sorted((folder / "masks").rglob("*.nii*"))}
    if not files:
        raise InputError("holds no masks/ with NIfTI files", hint="Give what `thoracle phantom` wrote.", source=folder)
    return files


@dataclass(frozen=True, kw_only=True, eq=False)
class InputMask:
    """Hold a mask on the voxels of a model's input, viewed along (z, x, y).

    Attributes:
        bits_ZXY: findings of each voxel; 0 outside the scan.
        spacing: mm a voxel along (z, x, y).
    """

    bits_ZXY: NDArray[np.int64]
    spacing: tuple[float, float, float]


def read_mask(path: Path, preprocess: Preprocessing, *, foreground: str = "") -> InputMask:
    """Read the findings of each voxel of a model's input, by the nearest voxel of the mask.

    Args:
        path: of the mask.
        preprocess: of the input.
        foreground: what that kept of the scan, as a cohort's manifest says; "" where it keeps all.

    Raises:
        InputError: inputs are cropped to each scan's foreground, and that of this scan is not known.
        ScanUnreadable: damaged, or none of integers along the body's axes.
    """
    if isinstance(preprocess, Recipe) and preprocess.foreground is not None and not foreground:
        detail = "inputs of this preprocessing are cropped to each scan's foreground, which the cohort's manifest does not say"
        raise InputError(detail, hint="Prepare the cohort again, into another --out.", source=path.name)
    try:
        image: Any = nib.load(path)
        if math.prod(image.shape) > _MOST_VOXELS or len(image.shape) != 3:
            raise ValueError(f"shape {image.shape}")
        voxels = np.asanyarray(image.dataobj)
    except (ImageFileError, OSError, EOFError, ValueError) as error:
        raise ScanUnreadable(f"is no mask ({type(error).__name__})", hint="Make the phantoms again.", source=path.name) from None
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    one_each = (np.count_nonzero(affine[:3, :3], axis=0) == 1).all() and (np.count_nonzero(affine[:3, :3], axis=1) == 1).all()
    if voxels.dtype.kind not in "iu" or not one_each:
        raise ScanUnreadable("is no mask of integers along the body's axes", hint="Make the phantoms again.", source=path.name)
    grid = to_lps(voxels, affine)
    counts, sizes = grid.array.shape, reorder(preprocess.size, preprocess.axes, ZXY)
    input_grid = input_affine(counts, grid.spacing, preprocess, foreground=box_from_text(foreground) if foreground else None)
    x, y, z = (_nearest(input_grid[a, a], input_grid[a, 3], sizes[n], counts[a]) for a, n in enumerate((1, 2, 0)))
    samples = grid.array.take(z, axis=2, mode="clip").take(y, axis=1, mode="clip").take(x, axis=0, mode="clip")  # far faster than at once
    for axis, at in enumerate((x, y, z)):
        samples[(slice(None),) * axis + (at < 0,)] = 0
    mm = [float(input_grid[a, a] * grid.spacing[a]) for a in range(3)]
    return InputMask(bits_ZXY=np.ascontiguousarray(samples.transpose(2, 0, 1), dtype=np.int64), spacing=(mm[2], mm[0], mm[1]))


def labels_in(mask_ZXY: NDArray[np.int64]) -> list[int]:
    """List the abnormalities that a mask has, by number."""
    bits = int(np.bitwise_or.reduce(mask_ZXY, axis=None))
    return [label for label in range(len(ABNORMALITIES)) if bits >> label & 1]


def share_of_patches(mask_ZXY: NDArray[np.int64], grid: tuple[int, int, int]) -> NDArray[np.float64]:
    """Return (K, T, h, w): the fraction of each patch of a grid that every abnormality takes.

    Raises:
        InputError: the grid does not divide the mask's size.
    """
    if any(size % cells for size, cells in zip(mask_ZXY.shape, grid, strict=True)):
        detail = f"a map of {grid} patches does not divide an input of {mask_ZXY.shape} voxels"
        raise InputError(detail, hint="Give a model whose patches are of whole voxels.")
    (Z, X, Y), (T, h, w) = mask_ZXY.shape, grid
    voxels = np.flatnonzero(mask_ZXY)  # few: findings are small
    z, x, y = np.unravel_index(voxels, mask_ZXY.shape)
    patches, bits = ((z // (Z // T)) * h + x // (X // h)) * w + y // (Y // w), mask_ZXY.ravel()[voxels]
    shares = np.zeros((len(ABNORMALITIES), T * h * w))
    for label in range(len(ABNORMALITIES)):
        shares[label] = np.bincount(patches[bits >> label & 1 == 1], minlength=T * h * w)
    return shares.reshape(-1, *grid) / (mask_ZXY.size // (T * h * w))


def _nearest(step: float, shift: float, samples: int, count: int) -> NDArray[np.int64]:
    """Return the nearest voxel of each sample; below 0 where it lies outside."""
    at = np.rint(step * np.arange(samples) + shift).astype(np.int64)
    return np.where(at < count, at, -1)
