"""Volumes that are in memory instead of a cache, for runs that a cohort would only slow down."""

from __future__ import annotations

import torch
from torch import Tensor

from thoracle.cohort.samples.dataset import Sample


class MemoryVolume:
    """One volume (1, Z, H, W) as a model takes it; there is nothing to read."""

    def __init__(self, volume_1ZHW: Tensor) -> None:
        self._volume_ZHW = volume_1ZHW[0]

    @property
    def size(self) -> tuple[int, int, int]:
        z, height, width = self._volume_ZHW.shape
        return z, height, width

    def read_into(self, hu_ZHW: Tensor) -> None: ...

    def write_input(self, hu_ZHW: Tensor, input_ZHW: Tensor) -> None:
        input_ZHW.copy_(self._volume_ZHW)


class LabelledMemoryVolumes:
    """Volumes (V, 1, Z, H, W) with their labels (V, K), alike in every epoch."""

    def __init__(self, volumes_V1ZHW: Tensor, labels_VK: Tensor) -> None:
        self.volumes_V1ZHW, self.labels_VK = volumes_V1ZHW, labels_VK

    def __len__(self) -> int:
        return len(self.labels_VK)

    def set_epoch(self, epoch: int) -> None: ...

    def stored_volume(self, index: int, epoch: int) -> MemoryVolume:
        return MemoryVolume(self.volumes_V1ZHW[index])

    def __getitem__(self, index: int) -> Sample:
        name = f"v{index}"
        return Sample(stored=self.stored_volume(index, 0), report="", labels=self.labels_VK[index], volume=name, scan=name, patient=name)


def stack(samples: list[Sample]) -> Tensor:
    """Read the volumes of samples as one tensor."""
    return torch.stack([sample.read_volume() for sample in samples])
