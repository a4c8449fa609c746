"""Take the volumes of a cohort through an encoder into the frame of the chest, and keep what readers are fitted to on the disk.

Shapes: S scans, B of them, (T, h, w) cells of a grid, D numbers of a cell, N places of the frame, P numbers of a place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, cast

import numpy as np
import torch
from torch import Tensor

from thoracle.cohort.samples.dataset import CohortDataset
from thoracle.ct.chest.input_box import InputBox
from thoracle.errors import CapabilityMissing
from thoracle.models.encoder import VolumeEncoder
from thoracle.models.regions.config import ReaderConfig, grid_of
from thoracle.models.regions.evidence import RegionReader
from thoracle.models.regions.model import place, region_features
from thoracle.training.engine.sampler import iterate_samples
from thoracle.training.regions.moments import CellMoments, PlaceMoments

BATCH: Final = 16
#: Scans that principal components are computed of, spread evenly over all.
_COMPONENT_SCANS: Final = 256
#: Of tokens and of cells: the smoothing, in places, and the network's channels; of cells there are several times as many.
_SIGMAS: Final = (0.4, 0.5)
_HIDDEN: Final = (96, 32)
#: Scans by their numbers; tokens, and cells where there is a finer grid.
RegionBatch = tuple[list[int], tuple[Tensor, Tensor | None]]


def region_batches(
    encoder: VolumeEncoder, volumes: CohortDataset, rows: Sequence[int], *, before_attention: bool, device: torch.device
) -> Iterator[RegionBatch]:
    """Yield scans by their numbers, and tokens and cells of each, read ahead by a thread.

    Raises:
        CapabilityMissing: tokens are on no grid.
        CacheDamaged: a cached volume that is not what was written.
    """
    batches = [list(rows[first : first + BATCH]) for first in range(0, len(rows), BATCH)]
    for batch, (_, volume_B1ZHW) in zip(batches, iterate_samples(volumes, batches, device, workers=1), strict=True):
        with torch.inference_mode():
            features = region_features(encoder, volume_B1ZHW, before_attention=before_attention)
        if features[0].dim() != 5:
            raise CapabilityMissing("has no grid of tokens", hint="Give a model whose tokens lie on a grid, such as CT-CLIP.")
        yield batch, features


def reader_configs(batches: Iterator[RegionBatch], *, components: int) -> tuple[list[ReaderConfig], list[tuple[Tensor, Tensor]]]:
    """Configure the reader of each grid, and compute the mean and the basis of its cells' principal components.

    Args:
        batches: of `region_batches`.
        components: the most numbers of a cell.
    """
    moments: list[CellMoments] = []
    configs: list[ReaderConfig] = []
    for _, features in batches:
        grids = [cells for cells in features if cells is not None]
        if not moments:
            for cells_BTHWD, sigma, hidden in zip(grids, _SIGMAS, _HIDDEN, strict=False):
                grid, dim = grid_of(cells_BTHWD), cells_BTHWD.shape[-1]
                config = ReaderConfig(grid=grid, dim=dim, components=min(dim, components), frame=grid, sigma=sigma, hidden=hidden)
                configs.append(config)
                moments.append(CellMoments(cells=config.places, numbers=dim))
        for moment, cells_BTHWD in zip(moments, grids, strict=True):
            moment.add(cells_BTHWD)
    return configs, [moment.components(config.components) for moment, config in zip(moments, configs, strict=True)]


def component_rows(scans: int) -> list[int]:
    """Choose the scans that principal components are computed of."""
    return sorted({int(row) for row in np.linspace(0, scans - 1, min(scans, _COMPONENT_SCANS))})


class PlacedScans:
    """Keep places of all scans in a file of float16, of which memory holds what the system likes; a reader's sums are made on the way."""

    def __init__(self, path: Path, config: ReaderConfig, labels_SK: Tensor) -> None:
        self.config = config
        shape = (len(labels_SK), config.places, config.components)
        self._file: np.memmap[tuple[int, ...], np.dtype[np.float16]] = np.memmap(path, np.float16, "w+", shape=shape)
        self.moments = PlaceMoments(labels_SK, places=config.places, numbers=config.components)

    def add(self, first: int, reader: RegionReader, cells_BTHWD: Tensor, boxes: Sequence[InputBox], *, margin: float) -> None:
        """Add scans from the number `first` on."""
        with torch.inference_mode():
            places_BNP = place(reader, self.config, cells_BTHWD, boxes, margin=margin)
        rows = slice(first, first + len(boxes))
        self._file[rows] = places_BNP.half().cpu().numpy()
        self.moments.add(rows, places_BNP)

    def read_rows(self, rows_B: Tensor) -> Tensor:
        """Read (B, N, P) of scans by their numbers."""
        return torch.from_numpy(np.asarray(self._file[rows_B.numpy()], dtype=np.float32))


def entry_boxes(volumes: CohortDataset, rows: Sequence[int]) -> list[InputBox]:
    """Return the boxes of entries that have one, along the axes of their inputs."""
    return [cast(InputBox, volumes.entries[row].box).along(volumes.cohort.preprocess.axes) for row in rows]
