"""Draw slices of an open scan, and give its volume to a viewer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from thoracle.client.forms.scans import Axis
from thoracle.ct.nifti_image import to_nifti, to_ras
from thoracle.ct.slice_pictures import png
from thoracle.errors import InputError
from thoracle.files.atomic import write_atomic
from thoracle.serving.work.scan_folder import load_volume

#: Voxels along an axis of a preview.
PREVIEW: Final = 256
_AXES: Final[dict[Axis, int]] = {"sagittal": 0, "coronal": 1, "axial": 2}


def slice_png(folder: Path, axis: Axis, index: int, *, level: float, width: float) -> bytes:
    """Draw one slice in the radiological convention: patient right on the left, anterior at the top, or the head; nose left.

    Args:
        folder: of the volume.
        axis: across it.
        index: in voxels.
        level, width: of the window in HU.

    Raises:
        InputError: there is no such slice.
        NotReady: there is no volume any more.
    """
    array, number = load_volume(folder).array, _AXES[axis]
    if not 0 <= index < array.shape[number]:
        raise InputError(f"there is no {axis} slice {index}", hint=f"There are 0 to {array.shape[number] - 1}.")
    picture = np.take(array, index, axis=number).T
    rows: NDArray[Any] = picture if axis == "axial" else picture[::-1]
    return png(((rows.astype(np.float32) - (level - width / 2)) / width * 255).clip(0, 255).astype(np.uint8))


def volume_nifti(folder: Path, most: int) -> Path:
    """Return the file of the volume as int16 HU, of at most so many voxels along an axis: every n-th voxel, so that each is a real one.

    Raises:
        NotReady: there is no volume any more.
    """
    volume = load_volume(folder)
    strides = preview_strides(volume.array.shape, most)
    path = folder / f"preview-{'-'.join(map(str, strides))}.nii.gz"
    if not path.exists():
        x, y, z = strides
        voxels = np.asarray(volume.array[::x, ::y, ::z])
        rounded = np.clip(np.rint(voxels), -32768, 32767).astype(np.int16)
        write_atomic(path, to_nifti(rounded, volume.affine @ np.diag([*strides, 1.0])), private=True)
    return path


def preview_strides(shape: Sequence[int], most: int) -> list[int]:
    """Return the step along each axis that leaves at most so many voxels."""
    return [-(-size // most) for size in shape]


def preview_affine(facts: dict[str, Any], most: int = PREVIEW) -> list[list[float]]:
    """Return the affine of a preview to RAS millimetres."""
    affine: list[list[float]] = to_ras(np.array(facts["affine"]) @ np.diag([*preview_strides(facts["shape"], most), 1.0])).tolist()
    return affine
