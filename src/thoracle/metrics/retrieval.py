"""Compute retrieval metrics of ranked galleries, with bootstrap intervals over the patients of queries.

Ties rank non-relevant items first, so they never help the query. Queries without a relevant item are counted and left out of all means.
Definitions are trec_eval's where it has them; R@K is its success_K.

Shapes: Q queries, G gallery, K ranks, R draws, C labels.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from thoracle.metrics.bootstrap import RESAMPLES, Interval, bootstrap, percentile_interval
from thoracle.types import FloatArray

Mask = NDArray[np.bool_]
KS: Final = (1, 5, 10, 50, 100)
#: Draws of random scores that the baseline is the mean of.
_RANDOM: Final = 10
_MEDIAN: Final = "MdR"


@dataclass(frozen=True, kw_only=True, eq=False)
class RetrievalResult:
    """Hold retrieval metrics by name.

    Attributes:
        metrics: means over queries, medians where their name says so, with intervals over patients.
        random: the same metrics of random scores.
        per_query: values of each query, (Q,); NaN without a relevant item.
        queries: how many have a relevant item.
        queries_without_relevant: how many have none; excluded from all means.
    """

    metrics: Mapping[str, Interval]
    random: Mapping[str, float]
    per_query: Mapping[str, FloatArray]
    queries: int
    queries_without_relevant: int


def sort_by_score(scores_QG: FloatArray, relevance_QG: FloatArray, gallery_QG: Mask | None = None) -> FloatArray:
    """Sort relevance by descending score; of ties the smallest relevance comes first.

    Args:
        scores_QG: larger is nearer.
        relevance_QG: of each item to each query.
        gallery_QG: which items a query may retrieve; all of them by default.

    Returns:
        (Q, G) relevance in order of rank; items outside the gallery are NaN, at the end.
    """
    relevance = np.asarray(relevance_QG, np.float64)
    scores = np.asarray(scores_QG, np.float64)
    if gallery_QG is not None:
        relevance, scores = np.where(gallery_QG, relevance, np.nan), np.where(gallery_QG, scores, -np.inf)
    return np.take_along_axis(relevance, np.lexsort((relevance, -scores), axis=1), axis=1)


def per_query_metrics(sorted_QG: FloatArray, *, ks: Sequence[int] = KS, relevance_QG: FloatArray | None = None) -> dict[str, FloatArray]:
    """Compute each metric for each query.

    Args:
        sorted_QG: relevance in order of rank; above 0 is relevant, NaN is no item.
        ks: depths of R@K, MAP@K, precision@K, nDCG@K and overlap@K (the mean relevance).
        relevance_QG: relevance of all items in any order, where the ranking does not hold all of them.

    Returns:
        (Q,) by name; NaN without a relevant item. `rank` is that of the first relevant item, one past the gallery if none is retrieved.
    """
    gains = np.nan_to_num(sorted_QG)
    relevance = np.nan_to_num(sorted_QG if relevance_QG is None else relevance_QG)
    hit, ranks = gains > 0, np.arange(1, gains.shape[1] + 1)
    relevant = (relevance > 0).sum(axis=1).astype(np.float64)
    relevant[relevant == 0] = np.nan
    excluded = 0 * relevant  # added to a metric it leaves numbers alone and makes queries without a relevant item NaN
    first = np.where(hit.any(axis=1), hit.argmax(axis=1) + 1.0, gains.shape[1] + 1.0) + excluded
    average = np.cumsum(hit * np.cumsum(hit, axis=1) / ranks, axis=1)
    discounted = np.cumsum(gains / np.log2(ranks + 1), axis=1)
    best = -np.sort(-relevance, axis=1)
    ideal = np.cumsum(best / np.log2(np.arange(2, best.shape[1] + 2)), axis=1).clip(1e-300)
    metrics: dict[str, FloatArray] = {"rank": first, "MRR": np.where(hit.any(axis=1), 1 / first, 0.0) + excluded}
    metrics["MAP"], metrics["nDCG"] = average[:, -1] / relevant, discounted[:, -1] / ideal[:, -1] + excluded
    for k in ks:
        last, deepest = min(k, gains.shape[1]) - 1, min(k, best.shape[1]) - 1
        metrics[f"R@{k}"] = hit[:, :k].any(axis=1) + excluded
        metrics[f"MAP@{k}"] = average[:, last] / relevant
        metrics[f"precision@{k}"] = hit[:, :k].sum(axis=1) / k + excluded
        metrics[f"nDCG@{k}"] = discounted[:, last] / ideal[:, deepest] + excluded
        metrics[f"overlap@{k}"] = gains[:, :k].sum(axis=1) / k + excluded
    return metrics


def evaluate_retrieval(
    scores_QG: FloatArray,
    relevance_QG: FloatArray,
    *,
    patients: Sequence[Hashable],
    gallery_QG: Mask | None = None,
    ks: Sequence[int] = KS,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> RetrievalResult:
    """Compute all metrics, with intervals over the patients of queries.

    Args:
        scores_QG: larger is nearer; minus infinity is not retrieved at all, and no rank is deep enough for it.
        relevance_QG: graded relevance of an item to a query; 0 is not relevant.
        patients: of each query.
        gallery_QG: which items a query may retrieve: not itself, nor its patient's.
        ks: depths of R@K and the rest.
        resamples, seed: of the bootstrap.
    """
    gallery = np.ones(np.shape(relevance_QG), bool) if gallery_QG is None else gallery_QG
    retrieved = gallery & (np.asarray(scores_QG) > -np.inf)
    sorted_QG = sort_by_score(scores_QG, relevance_QG, retrieved)
    per_query = per_query_metrics(sorted_QG, ks=ks, relevance_QG=np.where(gallery, relevance_QG, np.nan))
    counted = ~np.isnan(per_query["rank"])
    without = int((~counted).sum())
    if not counted.any():
        return RetrievalResult(metrics={}, random={}, per_query=per_query, queries=0, queries_without_relevant=without)
    names = [name for name in per_query if name != "rank"]
    ranks = per_query["rank"][counted]
    table = np.stack([*(per_query[name][counted] for name in names), ranks], axis=1)

    def measure(weights_RQ: FloatArray) -> FloatArray:
        with np.errstate(invalid="ignore", divide="ignore"):
            means = weights_RQ @ table / weights_RQ.sum(axis=1, keepdims=True)
        return np.concatenate([means, weighted_median(ranks, weights_RQ)[:, None]], axis=1)

    values = measure(np.ones((1, len(table))))[0]
    counted_patients = [patient for patient, counts in zip(patients, counted, strict=True) if counts]
    draws = bootstrap(measure, counted_patients, resamples=resamples, seed=seed)
    return RetrievalResult(
        metrics=dict(zip([*names, "MnR", _MEDIAN], percentile_interval(values, draws), strict=True)),
        random=_random_baseline(relevance_QG, gallery_QG, ks=ks, seed=seed),
        per_query=per_query,
        queries=len(table),
        queries_without_relevant=without,
    )


def weighted_median(values_Q: FloatArray, weights_RQ: FloatArray) -> FloatArray:
    """Compute medians of values that count as often as each draw's weights say; the mean of the middle two, (R,)."""
    order = np.argsort(values_Q, kind="stable")
    steps = np.cumsum(weights_RQ[:, order], axis=1)
    half = steps[:, -1:] / 2
    low, high = (steps >= half).argmax(axis=1), (steps > half).argmax(axis=1)
    median: FloatArray = (values_Q[order][low] + values_Q[order][high]) / 2
    return median


def label_overlap(queries_QC: NDArray[np.int_], gallery_GC: NDArray[np.int_]) -> FloatArray:
    """Compute the Jaccard index of the labels of each query and item, as CT-CLIP grades volume retrieval.

    Args:
        queries_QC, gallery_GC: 1 where a label is present.

    Returns:
        (Q, G); 0 where neither has a label.
    """
    queries, gallery = (queries_QC == 1).astype(np.float64), (gallery_GC == 1).astype(np.float64)
    both = queries @ gallery.T
    either = queries.sum(axis=1)[:, None] + gallery.sum(axis=1)[None] - both
    overlap: FloatArray = np.where(either > 0, both / np.maximum(either, 1), 0.0)
    return overlap


def _random_baseline(relevance_QG: FloatArray, gallery_QG: Mask | None, *, ks: Sequence[int], seed: int) -> dict[str, float]:
    """Average the metrics of several draws of random scores."""
    random, draws = np.random.default_rng(seed), dict[str, list[float]]()
    for _ in range(_RANDOM):
        scores_QG = random.random(np.shape(relevance_QG))
        per_query = per_query_metrics(sort_by_score(scores_QG, relevance_QG, gallery_QG), ks=ks)
        ranks = per_query.pop("rank")
        means = {name: float(np.nanmean(values)) for name, values in per_query.items()}
        for name, mean in (means | {"MnR": float(np.nanmean(ranks)), _MEDIAN: float(np.nanmedian(ranks))}).items():
            draws.setdefault(name, []).append(mean)
    return {name: float(np.mean(values)) for name, values in draws.items()}
