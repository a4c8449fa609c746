"""Make scans of any order, turn and slant."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from thoracle.ct.geometry.affine import resolve_affine
from thoracle.ct.metadata import MetadataRow
from thoracle.ct.stored import StoredScan

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


def slanted(degrees: float, *, along: int, of: int, spacing: tuple[float, ...] = (0.7, 0.7, 2.5)) -> NDArray[np.float64]:
    """Axis `of` slides along axis `along` by an angle."""
    affine = grid(spacing)
    affine[along, of] = spacing[of] * np.tan(np.radians(degrees))
    return affine
