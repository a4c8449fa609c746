"""Zero-shot AUROC as a run goes on: prompts against the volumes of a split that is not trained on.

Shapes: P prompts, V volumes, K abnormalities.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from thoracle.cohort.samples.dataset import Sample
from thoracle.metrics.classification import auroc
from thoracle.models.common.prompts import format_prompts
from thoracle.training.contrastive.dual_encoder import DualEncoderTask
from thoracle.training.engine.distributed import World
from thoracle.training.engine.sampler import EpochDataset, iterate_samples
from thoracle.types import ABNORMALITIES


class ZeroShotEvaluator:
    """Evaluate AUROC of each abnormality, and `macro_auroc`, the mean over those with both answers."""

    def __init__(self, task: DualEncoderTask, volumes: EpochDataset[Sample], *, batch: int, workers: int = 0) -> None:
        self._task, self._volumes, self._batch, self._workers = task, volumes, batch, workers
        self._prompts = task.tokenizer.encode(format_prompts())

    def __call__(self) -> Mapping[str, float]:
        """Each rank encodes its share; all return the same numbers."""
        world = self._task.world
        ids, mask = self._prompts.input_ids_BN.to(world.device), self._prompts.attention_mask_BN.to(world.device)
        margins, labels = [], []
        batches = rank_batches(len(self._volumes), world, batch=self._batch)
        for samples, volume_B1ZHW in iterate_samples(self._volumes, batches, world.device, workers=self._workers):
            text_PL, image_VL = self._task.encode(ids, mask, volume_B1ZHW)[:2]
            cosines_VK2 = (image_VL @ text_PL.T).view(len(samples), -1, 2)
            margins.append((cosines_VK2[..., 0] - cosines_VK2[..., 1]).cpu())
            labels.append(torch.stack([sample.labels for sample in samples]))
        gathered = world.all_gather_object((torch.cat(margins), torch.cat(labels)))
        count = len(self._volumes)
        return label_aurocs(torch.cat([part for part, _ in gathered])[:count], torch.cat([part for _, part in gathered])[:count])


def rank_batches(count: int, world: World, *, batch: int) -> Sequence[Sequence[int]]:
    """List a rank's share of `count` volumes in batches, alike in number on all ranks, for sharded weights are gathered by all or none.

    The shares of all ranks, one behind the other, are the volumes in order, the last of them repeated where ranks do not divide them.
    """
    length = -(-count // world.size)
    local = [min(index, count - 1) for index in range(world.rank * length, (world.rank + 1) * length)]
    return [local[first : first + batch] for first in range(0, length, batch)]


def label_aurocs(scores_VK: Tensor, labels_VK: Tensor) -> dict[str, float]:
    """Compute AUROC by abnormality and `macro_auroc`, their mean.

    Args:
        scores_VK: larger is more likely present.
        labels_VK: above 0 is present, NaN unknown.

    Returns:
        figures of abnormalities that have both labels and whose scores are finite; empty where there is none.
    """
    labels = torch.where(labels_VK.isnan(), labels_VK, (labels_VK > 0).to(labels_VK)).double().numpy()
    scores = np.where(np.isnan(labels), 0.0, scores_VK.detach().double().numpy())  # an unknown label is not counted, whatever its score
    finite = np.flatnonzero(np.isfinite(scores).all(axis=0))  # a run that diverged has no figure, and goes on
    names = [ABNORMALITIES[column] for column in finite]
    values = zip(names, auroc(scores[:, finite], labels[:, finite]).tolist(), strict=True)
    aurocs = {name: value for name, value in values if not math.isnan(value)}
    return {"macro_auroc": sum(aurocs.values()) / len(aurocs), **aurocs} if aurocs else {}
