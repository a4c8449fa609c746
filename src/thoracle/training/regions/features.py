"""Take the volumes of a cohort through an encoder into the frame of the chest, and keep what readers are fitted to on the disk.

Shapes: S scans, B of them, (T, h, w) cells of a grid, D numbers of a cell, N places of the frame, P numbers of a place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, cast

import numpy as np
import torch
from torch import Tensor

from thoracle.cohort.samples.dataset import CohortDataset
from thoracle.ct.chest.input_box import InputBox
from thoracle.errors import CapabilityMissing
from thoracle.models.regions.config import ReaderConfig, grid_of
from thoracle.models.regions.model import RegionFeatures
from thoracle.training.engine.distributed import World
from thoracle.training.engine.sampler import iterate_samples
from thoracle.training.regions.moments import CellMoments

BATCH: Final = 16
#: Scans that principal components are computed of, spread evenly over all.
_COMPONENT_SCANS: Final = 256
#: Scans whose scores tell how high those with a finding and those without score; and how many of each of both kinds, where so many are.
_SCORED_SCANS, _SCORED_EACH = 2048, 32
#: Of tokens and of cells: the smoothing.
_SIGMAS: Final = (0.4, 0.5)
#: Scans by their numbers, and what the encoder makes of them.
RegionBatch = tuple[list[int], RegionFeatures]


def region_batches(
    encode: Callable[[Tensor], RegionFeatures], volumes: CohortDataset, rows: Sequence[int], *, device: torch.device
) -> Iterator[RegionBatch]:
    """Yield scans by their numbers, and what `encode` makes of them, read ahead by a thread.

    Raises:
        CapabilityMissing: tokens are on no grid.
        CacheDamaged: a cached volume that is not what was written.
    """
    batches = [list(rows[first : first + BATCH]) for first in range(0, len(rows), BATCH)]
    for batch, (_, volume_B1ZHW) in zip(batches, iterate_samples(volumes, batches, device, workers=1), strict=True):
        with torch.inference_mode():
            features = encode(volume_B1ZHW)
        if features.tokens.dim() != 5:
            raise CapabilityMissing("has no grid of tokens", hint="Give a model whose tokens lie on a grid, such as CT-CLIP.")
        yield batch, features


def reader_configs(
    batches: Iterator[RegionBatch], *, components: int, world: World
) -> tuple[list[ReaderConfig], list[tuple[Tensor, Tensor]]]:
    """Configure the reader of each grid, and compute the mean and the basis of its cells' principal components.

    Args:
        batches: of `region_batches`.
        components: the most numbers of a cell.
        world: the ranks, each of which has some batches.
    """
    moments: list[CellMoments] = []
    configs: list[ReaderConfig] = []
    for _, features in batches:
        if not moments:
            for cells_BTHWD, sigma in zip(features.grids, _SIGMAS, strict=False):
                grid, dim = grid_of(cells_BTHWD), cells_BTHWD.shape[-1]
                config = ReaderConfig(grid=grid, dim=dim, components=min(dim, components), frame=grid, sigma=sigma)
                configs.append(config)
                moments.append(CellMoments(cells=config.places, numbers=dim))
        for moment, cells_BTHWD in zip(moments, features.grids, strict=True):
            moment.add(cells_BTHWD)
    for moment in moments:
        moment.reduce(world)
    return configs, [moment.components(config.components) for moment, config in zip(moments, configs, strict=True)]


def component_rows(scans: int, world: World) -> list[int]:
    """Choose the scans that principal components are computed of, those of this rank."""
    return sorted(_spread(scans, _COMPONENT_SCANS))[world.rank :: world.size]


def scored_rows(labels_SK: Tensor) -> set[int]:
    """Choose the scans that are scored again by what was fitted to all."""
    kinds = [labels_SK[:, k] == value for k in range(labels_SK.shape[1]) for value in (0, 1)]
    return {*_spread(len(labels_SK), _SCORED_SCANS), *(row for of_kind in kinds for row in of_kind.nonzero()[:_SCORED_EACH, 0].tolist())}


def _spread(scans: int, count: int) -> set[int]:
    return {int(row) for row in np.linspace(0, scans - 1, min(scans, count))}


def rank_rows(scans: int, world: World) -> range:
    """Return the scans that this rank reads, neighbours."""
    return range(scans * world.rank // world.size, scans * (world.rank + 1) // world.size)


class PlacedScans:
    """Keep places of some of a rank's scans in a file of float16, of which memory holds what the system likes."""

    def __init__(self, path: Path, config: ReaderConfig, *, scans: int) -> None:
        self._scans = 0
        shape = (scans, config.places, config.components)
        self._file: np.memmap[tuple[int, ...], np.dtype[np.float16]] = np.memmap(path, np.float16, "w+", shape=shape)

    def add(self, places_BNP: Tensor) -> None:
        """Add scans."""
        self._file[self._scans : self._scans + len(places_BNP)] = places_BNP.half().cpu().numpy()
        self._scans += len(places_BNP)

    def batches(self) -> Iterator[Tensor]:
        """Read (B, N, P) of all scans, in the order in which they were added."""
        for first in range(0, self._scans, BATCH):
            yield torch.from_numpy(np.asarray(self._file[first : first + BATCH], dtype=np.float32))


def entry_boxes(volumes: CohortDataset, rows: Sequence[int]) -> list[InputBox]:
    """Return the boxes of entries that have one, along the axes of their inputs."""
    return [cast(InputBox, volumes.entries[row].box).along(volumes.cohort.preprocess.axes) for row in rows]
