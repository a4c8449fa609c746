"""Recall and loss of held-out pairs as a run goes on: needs reports, and no labels.

Shapes: V volumes with their reports, L latent width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from thoracle.cohort.samples.dataset import Sample
from thoracle.metrics.retrieval import per_query_metrics, sort_by_score
from thoracle.training.contrastive.dual_encoder import DualEncoderTask
from thoracle.training.contrastive.zero_shot_eval import rank_batches
from thoracle.training.engine.sampler import EpochDataset, PairCollator, iterate_samples

_DEPTHS: Final = (1, 5, 10)
#: Names of the figures of which the highest is best.
RECALLS: Final = tuple(f"R@{depth}" for depth in _DEPTHS)
PAIR_MONITORS: Final = (*RECALLS, "minus_loss")


class RetrievalEvaluator:
    """Evaluate the share of reports that find a volume of their scan, and of volumes that find its report, among the first 1, 5 and 10.

    Each figure is the mean of both directions. Ties count against the query. `held_out_loss` is InfoNCE over all held-out pairs at once, at
    the model's temperature; its negative is `minus_loss`.
    """

    def __init__(self, task: DualEncoderTask, pairs: EpochDataset[Sample], *, batch: int, length: int, workers: int = 0) -> None:
        self._task, self._pairs, self._batch, self._workers = task, pairs, batch, workers
        self._collate = PairCollator(task.tokenizer, min(length, task.clip.max_text_tokens))

    def __call__(self) -> Mapping[str, float]:
        """Each rank encodes its share; all return the same numbers."""
        world, texts, volumes, scans = self._task.world, [], [], []
        batches = rank_batches(len(self._pairs), world, batch=self._batch)
        for samples, volume_B1ZHW in iterate_samples(self._pairs, batches, world.device, workers=self._workers):
            (pairs,) = self._collate(samples, volume_B1ZHW).chunks(len(samples), world.device)
            text_BL, image_BL = self._task.encode(*pairs)[:2]
            texts.append(text_BL.cpu())
            volumes.append(image_BL.cpu())
            scans += [sample.scan for sample in samples]
        parts = world.all_gather_object((torch.cat(texts), torch.cat(volumes), scans))
        count = len(self._pairs)
        text_VL, image_VL = torch.cat([part[0] for part in parts])[:count], torch.cat([part[1] for part in parts])[:count]
        cosines_VV = (text_VL @ image_VL.T).double()
        scores_VV = cosines_VV.numpy()
        names = np.array([scan for part in parts for scan in part[2]][:count])
        relevance_VV = (names[:, None] == names).astype(np.float64)
        ways = [per_query_metrics(sort_by_score(scores, relevance_VV), ks=_DEPTHS) for scores in (scores_VV, scores_VV.T)]
        loss = pair_loss(cosines_VV * self._task.clip.temperature.exp().item(), torch.from_numpy(relevance_VV) == 1)
        return {**{name: float(np.mean([way[name] for way in ways])) for name in RECALLS}, "minus_loss": -loss, "held_out_loss": loss}


def pair_loss(logits_VV: Tensor, same_scan_VV: Tensor) -> float:
    """Compute InfoNCE of pairs on the diagonal, mean of both directions; other volumes of a pair's scan are no negatives."""
    diagonal = torch.eye(len(logits_VV), dtype=torch.bool)
    logits_VV = logits_VV.masked_fill(same_scan_VV & ~diagonal, -torch.inf)
    targets = torch.arange(len(logits_VV))
    return ((F.cross_entropy(logits_VV, targets) + F.cross_entropy(logits_VV.T, targets)) / 2).item()
