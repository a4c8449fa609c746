"""Encode volumes by a frozen encoder once, keep the features on the disk, and feed them to training.

FOLDER/HASH.safetensors   of n neighbouring volumes; the hash is of the model and of those volumes
    latents (n, L) float32, or
    tokens (n, T, h, w) int32, where a model reads codes: which ones; (n, T, h, w, D) float16, where it reads what they were before

A run that is stopped while it encodes goes on after the last whole file; another run, or another seed, finds them all.

Shapes: V volumes, B of them, K abnormalities, L latent width; T, h, w, D as in `models.ctvit`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from thoracle.cohort.samples.dataset import Sample
from thoracle.files.atomic import write_atomic
from thoracle.files.visible import wait_until_visible
from thoracle.models.ctclip.model import CTCLIP
from thoracle.training.engine.distributed import World
from thoracle.training.engine.sampler import EpochDataset, iterate_samples
from thoracle.types import RESEARCH_USE

FeatureKind = Literal["latents", "tokens"]
#: Volumes of a file: what a stopped run computes again at most.
_AT_ONCE: Final = 256


@dataclass(frozen=True, kw_only=True, eq=False)
class FrozenSample:
    """Hold one volume's latent (L) or tokens, its labels (K), 0, 1 or NaN where unknown, and its name."""

    features: Tensor
    labels_K: Tensor
    name: str


class FeatureDataset:
    """Feed frozen features with labels from memory. 50,000 full-size volumes have 100 MB of latents, 2.8 GB of tokens."""

    def __init__(self, given_V: Tensor, labels_VK: Tensor, names: Sequence[str]) -> None:
        self.given_V, self.labels_VK, self.names = given_V, labels_VK, tuple(names)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> FrozenSample:
        return FrozenSample(features=self.given_V[index], labels_K=self.labels_VK[index], name=self.names[index])

    def set_epoch(self, epoch: int) -> None:
        """Ignore the epoch: features are of unchanged volumes."""


def encode_frozen_features(
    encode: Callable[[Tensor, FeatureKind], Tensor],
    volumes: EpochDataset[Sample],
    world: World,
    *,
    shape: tuple[int, ...] | None,
    feature: FeatureKind,
    keys: Sequence[str],
    model_sha256: str,
    folder: Path,
    batch: int,
    workers: int = 0,
    completed: Callable[[int], None] = lambda _: None,
) -> Tensor:
    """Encode (V, …) as the files hold it, on the CPU, in full precision and evaluation mode, so that codes stay as they are.

    Args:
        encode: computes the feature of volumes (B, 1, …) that are on the world's device.
        volumes: as they are encoded; without augmentation.
        world: each rank encodes its share of the files.
        shape: of a volume's feature; None where only encoding tells.
        feature: latents of unit norm, or the tokens that they are read from.
        keys: what says of each volume that it is the same one, as a hash of its voxels does.
        model_sha256: of the model: `model_fingerprint`.
        folder: where they are kept, the same for all ranks.
        batch: volumes that are encoded at once.
        workers: threads that read volumes ahead.
        completed: told how many volumes are ready, as they get ready.

    Raises:
        As `volumes`; OSError where files cannot be written.
    """
    parts = [range(first, min(first + _AT_ONCE, len(volumes))) for first in range(0, len(volumes), _AT_ONCE)]
    files = [_file(folder, feature, model_sha256, [keys[index] for index in part]) for part in parts]
    for part, file in list(zip(parts, files, strict=True))[world.rank :: world.size]:
        if _read(file, feature, len(part), shape) is None:
            rows = []
            batches = [part[first : first + batch] for first in range(0, len(part), batch)]
            for _, volume_B1ZHW in iterate_samples(volumes, batches, world.device, workers=workers):
                rows.append(encode(volume_B1ZHW, feature))
                completed(part.start + sum(map(len, rows)))
            write_atomic(file, save({feature: torch.cat(rows)}, metadata={"notice": RESEARCH_USE}))
        completed(part.stop)
    world.barrier()
    wait_until_visible(files)
    return torch.cat([load_file(file)[feature] for file in files])


def expand_tokens(clip: CTCLIP, kept_B: Tensor) -> Tensor:
    """Expand what is kept of tokens to (B, T, h, w, D) float32, as `CTCLIP.pooling_tokens` gives them."""
    return kept_B.float() if clip.codebook is None or kept_B.is_floating_point() else F.embedding(kept_B, clip.codebook.embed[0])


def feature_shape(clip: CTCLIP, feature: FeatureKind) -> tuple[int, ...]:
    """Return the shape of a volume's feature."""
    if feature == "latents":
        return (clip.config.dim_latent,)
    grid = (clip.config.steps, clip.config.ctvit.grid, clip.config.ctvit.grid)
    return grid if clip.config.reads_codes else (*grid, clip.config.ctvit.dim)


@torch.inference_mode()
def encode_clip_feature(clip: CTCLIP, volume_B1ZHW: Tensor, feature: FeatureKind) -> Tensor:
    """Compute a CT-CLIP's feature (B, …), on the CPU; it is in evaluation mode."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # a rounded token is another code
        encoded = clip.visual_transformer(volume_B1ZHW)
        if feature == "latents":
            return clip.project_tokens(clip.pooling_tokens(encoded)).float().cpu()
        if clip.config.reads_codes:
            return cast(Tensor, encoded.indices_BN.view(encoded.tokens_BTHWD.shape[:-1]).int().cpu())
        return clip.pooling_tokens(encoded).half().cpu()


def _file(folder: Path, feature: FeatureKind, model_sha256: str, keys: Sequence[str]) -> Path:
    digest = hashlib.sha256("\0".join([*([] if feature == "latents" else [feature]), model_sha256, *keys]).encode())
    return folder / f"{digest.hexdigest()}.safetensors"


def _read(file: Path, feature: FeatureKind, count: int, shape: tuple[int, ...] | None) -> Tensor | None:
    """None where there is none, or what is there is damaged, and is computed again."""
    if not file.is_file():
        return None
    try:
        tensor = load_file(file).get(feature)
    except SafetensorError:
        return None
    if tensor is None or len(tensor) != count or (shape is not None and tuple(tensor.shape[1:]) != shape):
        return None
    return tensor
