"""The picture being painted: Hounsfield units and the masks of findings on one grid."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from thoracle.phantom.anatomy.thorax import LOBES, Thorax
from thoracle.phantom.anatomy.tubes import Tubes, filled
from thoracle.phantom.imaging.grid import Box, Floats, VoxelGrid
from thoracle.types import ABNORMALITIES

EVERYWHERE: Final[Box] = (slice(None), slice(None), slice(None))


@dataclass(frozen=True, kw_only=True, eq=False)
class Canvas:
    """Hold what painters share.

    Attributes:
        grid: where the voxels are.
        thorax: the person's chest.
        hu: (nx, ny, nz) float32, painted in place.
        hull: (nx, ny, nz) share of each voxel inside the pleura, airways and vessels included.
        lung: (nx, ny, nz) share of aerated lung in each voxel; airways and vessels are no part of it.
        mask: (nx, ny, nz) uint32, bit i for the i-th abnormality.
    """

    grid: VoxelGrid
    thorax: Thorax
    hu: Floats
    hull: Floats
    lung: Floats
    mask: NDArray[np.uint32]

    def paint(self, fraction: Floats, hu: Floats | float, box: Box = EVERYWHERE) -> None:
        """Mix a tissue in, by its share of each voxel."""
        view = self.hu[box]
        mixed = np.subtract(hu, view, dtype=np.float32)
        mixed *= fraction
        view += mixed

    def add(self, change: Floats, box: Box = EVERYWHERE) -> None:
        """Make denser or thinner."""
        view = self.hu[box]
        view += change

    def tubes(self, tubes: Tubes, hu: float) -> tuple[Box, Floats]:
        """Paint tubes of one tissue; returns what they fill."""
        box, fraction = filled(self.grid, tubes)
        if fraction.size:
            self.paint(fraction, hu, box)
        return box, fraction

    def mark(self, abnormality: str, fraction: Floats, box: Box = EVERYWHERE, *, above: float = 0.4) -> None:
        """Add voxels with more than such a share to the mask of an abnormality."""
        self.mask[box] |= np.where(fraction > above, np.uint32(1 << ABNORMALITIES.index(abnormality)), np.uint32(0))

    def around(self, centre: tuple[float, ...] | Floats, reach: float) -> tuple[Box, Canvas]:
        """Return the box within some mm of a point, and the part of the canvas in it."""
        low, high = ([float(c) + sign * reach for c in centre] for sign in (-1, 1))
        box = self.grid.box((low[0], low[1], low[2]), (high[0], high[1], high[2]))
        return box, self.within(box)

    @contextmanager
    def confined(self, lobes: Collection[str]) -> Iterator[None]:
        """Take the lung of all other lobes away for a while: what fills a share of hull or lung stays in these."""
        voxels = np.flatnonzero(self.hull)
        outside = np.array([name not in lobes for name in LOBES])[self.thorax.lobe_index(*self.grid.at(voxels))]
        places = np.unravel_index(voxels[outside], self.grid.shape)
        hull, lung = self.hull[places], self.lung[places]
        self.hull[places] = self.lung[places] = 0
        yield
        self.hull[places], self.lung[places] = hull, lung

    def within(self, box: Box) -> Canvas:
        """Return the part in a box; painting it paints this canvas."""
        return Canvas(
            grid=self.grid.within(box), thorax=self.thorax, hu=self.hu[box], hull=self.hull[box], lung=self.lung[box], mask=self.mask[box]
        )
