"""Score retrieval as CT-CLIP and MedFinder published it, to compare with their papers alone.

Shapes: N volumes, C labels or keywords, L latent width, K ranks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from thoracle.metrics.retrieval import Mask, RetrievalResult, label_overlap
from thoracle.types import FloatArray


def published_volume_to_volume(
    latents_NL: FloatArray, labels_NC: NDArray[np.int_], *, ks: Sequence[int] = (1, 5, 10, 50)
) -> dict[str, float]:
    """Compute CT-CLIP's volume-to-volume figure, which it calls MAP@K and is no average precision.

    Queries retrieve themselves, the gallery holds only volumes with a label, and the published list of overlaps is never emptied, so the
    figure at K averages those of all smaller K.
    """
    gallery = np.flatnonzero((labels_NC == 1).any(axis=1))
    scores = latents_NL @ latents_NL[gallery].T
    overlap = label_overlap(labels_NC, labels_NC[gallery])
    order = np.argsort(-scores, axis=1, kind="stable")
    sorted_QG = np.take_along_axis(overlap, order, axis=1)
    means = [float(sorted_QG[:, :k].mean()) for k in ks]
    return {f"running mean overlap@{k}": float(np.mean(means[: n + 1])) for n, k in enumerate(ks)}


def published_shared_label(retrieval: RetrievalResult) -> dict[str, float]:
    """Select R@K of volumes where one shared label is a hit, as papers count, with that of random scores, which it is seldom above."""
    values: dict[str, float] = {}
    for name, interval in retrieval.metrics.items():
        if name.startswith("R@"):
            values[f"{name}, one shared label a hit"] = interval.value
            values[f"{name}, one shared label a hit, random"] = retrieval.random[name]
    return values


def published_report_to_volume(scores_NN: FloatArray, *, ks: Sequence[int] = (5, 10, 50, 100)) -> dict[str, float]:
    """Compute CT-CLIP's recall: the volume of the same row among the first K; copies of a report or scan count as misses."""
    matching = np.diagonal(scores_NN)[:, None]
    earlier = (scores_NN > matching).sum(axis=1) + np.tril(scores_NN == matching, -1).sum(axis=1)
    return {f"R@{k}": float((earlier < k).mean()) for k in ks}


def published_keyword(scores_CN: FloatArray, contains_CN: Mask, *, ks: Sequence[int]) -> dict[str, float]:
    """Compute MedFinder's keyword precision: a hit is a volume whose report holds the keyword, even where it denies it.

    Keywords that no report holds are left out.
    """
    order = np.argsort(-scores_CN, axis=1, kind="stable")
    hits = np.take_along_axis(contains_CN, order, axis=1)[contains_CN.any(axis=1)]
    return {f"precision@{k}": float(hits[:, :k].sum(axis=1).mean() / k) for k in ks} if len(hits) else {}
