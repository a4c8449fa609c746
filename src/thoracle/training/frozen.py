"""Latents of a frozen encoder: computed once for a model and its volumes, kept on the disk, then trained on; knows no head.

LATENTS/HASH.safetensors   latents (n, L) of n neighbouring volumes; the hash is of the model's weights and of those volumes

A run that is stopped while it encodes goes on after the last whole file; another run, or another seed, finds them all.

Shapes: V volumes, K abnormalities, L latent width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from thoracle.cohort.dataset import Sample
from thoracle.files import write_atomic
from thoracle.models.ctclip import CTCLIP
from thoracle.training.data import Data
from thoracle.training.distributed import World
from thoracle.types import RESEARCH_USE

#: Volumes of a file: what a stopped run computes again at most.
_AT_ONCE: Final = 256


@dataclass(frozen=True, kw_only=True, eq=False)
class LatentSample:
    """One volume's latent (L), its labels (K), 0, 1 or NaN where nobody says, and its name."""

    latent_L: Tensor
    labels_K: Tensor
    name: str


class LatentData:
    """As `Data`: what `frozen_latents` gave, with labels; in memory, 100 MB for 50,000 volumes."""

    def __init__(self, latents_VL: Tensor, labels_VK: Tensor, names: Sequence[str]) -> None:
        self.latents_VL, self.labels_VK, self.names = latents_VL, labels_VK, tuple(names)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> LatentSample:
        return LatentSample(latent_L=self.latents_VL[index], labels_K=self.labels_VK[index], name=self.names[index])

    def set_epoch(self, epoch: int) -> None:
        """Latents are those of volumes as they are: an epoch is like another."""


def frozen_latents(
    clip: CTCLIP,
    volumes: Data[Sample],
    world: World,
    *,
    keys: Sequence[str],
    model_sha256: str,
    folder: Path,
    batch: int,
    done: Callable[[int], None] = lambda _: None,
) -> Tensor:
    """Latents of unit norm (V, L), float32, on the CPU: a full-precision encoder's, in evaluation mode, so that codes stay as they are.

    Args:
        clip: on the world's device.
        volumes: as they are encoded; without augmentation.
        world: each rank encodes its share of the files.
        keys: what says of each volume that it is the same one, as a hash of its voxels does.
        model_sha256: of the model's weights.
        folder: where they are kept, the same for all ranks.
        batch: volumes that are encoded at once.
        done: told how many volumes are ready, as they get ready.

    Raises:
        As `volumes`; OSError where latents cannot be written.
    """
    parts = [range(first, min(first + _AT_ONCE, len(volumes))) for first in range(0, len(volumes), _AT_ONCE)]
    files = [_file(folder, model_sha256, [keys[index] for index in part]) for part in parts]
    shape = clip.config.dim_latent
    clip.eval()
    for part, file in list(zip(parts, files, strict=True))[world.rank :: world.size]:
        if _read(file, (len(part), shape)) is None:
            rows = []
            for latents_BL in _encoded(clip, volumes, part, world, batch):
                rows.append(latents_BL)
                done(part.start + sum(map(len, rows)))
            write_atomic(file, save({"latents": torch.cat(rows)}, metadata={"notice": RESEARCH_USE}))
        done(part.stop)
    world.wait()
    return torch.cat([load_file(file)["latents"] for file in files])


@torch.inference_mode()
def _encoded(clip: CTCLIP, volumes: Data[Sample], part: range, world: World, batch: int) -> Iterator[Tensor]:
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # a rounded token is another code
        for first in range(part.start, part.stop, batch):
            some = [volumes[index].volume_1ZHW for index in range(first, min(first + batch, part.stop))]
            yield clip.encode_volume(torch.stack(some).to(world.device)).latent_BL.float().cpu()


def _file(folder: Path, model_sha256: str, keys: Sequence[str]) -> Path:
    digest = hashlib.sha256("\0".join([model_sha256, *keys]).encode())
    return folder / f"{digest.hexdigest()}.safetensors"


def _read(file: Path, shape: tuple[int, int]) -> Tensor | None:
    """None where there is none, or what is there is damaged, and is computed again."""
    if not file.is_file():
        return None
    try:
        found = load_file(file).get("latents")
    except SafetensorError:
        return None
    return found if found is not None and tuple(found.shape) == shape else None
