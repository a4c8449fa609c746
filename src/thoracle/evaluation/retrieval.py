"""How well queries find what belongs to them: figures of ranked galleries, with intervals over patients; knows arrays, and no model.

Ties count against the query: what does not belong and scores as much stands before what belongs. Queries to which nothing belongs are
left out, and counted. Definitions are trec_eval's where it has them; R@K is its success_K.

Shapes: Q queries, G gallery, K ranks, R draws.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from thoracle.evaluation.intervals import RESAMPLES, Array, Interval, bootstrap, percentile_interval

Mask = NDArray[np.bool_]
KS: Final = (1, 5, 10, 50, 100)
#: Draws of random scores that the baseline is the mean of.
_RANDOM: Final = 10
_MEDIAN: Final = "MdR"


@dataclass(frozen=True, kw_only=True, eq=False)
class Retrieval:
    """Figures by name.

    Attributes:
        figures: means over queries, medians where they say so.
        random: the same of random scores.
        each: of each query, (Q,); NaN where nothing belongs to it.
        queries, without: how many counted, and how many had nothing to find.
    """

    figures: Mapping[str, Interval]
    random: Mapping[str, float]
    each: Mapping[str, Array]
    queries: int
    without: int


def ranked(scores_QG: Array, gains_QG: Array, keep_QG: Mask | None = None) -> Array:
    """Gains in the order of scores; of ties the smallest gain first. What is not kept is no part of the gallery: NaN, at the end."""
    gains = np.asarray(gains_QG, np.float64)
    scores = np.asarray(scores_QG, np.float64)
    if keep_QG is not None:
        gains, scores = np.where(keep_QG, gains, np.nan), np.where(keep_QG, scores, -np.inf)
    return np.take_along_axis(gains, np.lexsort((gains, -scores), axis=1), axis=1)


def figures_of(gains_QG: Array, *, ks: Sequence[int] = KS, judged_QG: Array | None = None) -> dict[str, Array]:
    """Each figure of each query, (Q,); NaN where nothing belongs to it.

    Args:
        gains_QG: in order of rank; what is above 0 belongs, NaN is no item.
        ks: R@K, MAP@K, precision@K, nDCG@K and overlap@K (the mean gain) of each.
        judged_QG: gains of all that belongs, where the ranking holds not all of it; in any order.
    """
    gains = np.nan_to_num(gains_QG)
    judged = np.nan_to_num(gains_QG if judged_QG is None else judged_QG)
    hit, places = gains > 0, np.arange(1, gains.shape[1] + 1)
    total = (judged > 0).sum(axis=1).astype(np.float64)
    total[total == 0] = np.nan
    first = np.where(hit.any(axis=1), hit.argmax(axis=1) + 1.0, gains.shape[1] + 1.0) + 0 * total
    average = np.cumsum(hit * np.cumsum(hit, axis=1) / places, axis=1)
    discounted = np.cumsum(gains / np.log2(places + 1), axis=1)
    best = -np.sort(-judged, axis=1)
    ideal = np.cumsum(best / np.log2(np.arange(2, best.shape[1] + 2)), axis=1)
    found: dict[str, Array] = {"rank": first, "MRR": np.where(hit.any(axis=1), 1 / first, 0.0) + 0 * total}
    found["MAP"], found["nDCG"] = average[:, -1] / total, discounted[:, -1] / ideal[:, -1].clip(1e-300) + 0 * total
    for k in ks:
        last, deepest = min(k, gains.shape[1]) - 1, min(k, best.shape[1]) - 1
        found[f"R@{k}"] = hit[:, :k].any(axis=1) + 0 * total
        found[f"MAP@{k}"] = average[:, last] / total
        found[f"precision@{k}"] = hit[:, :k].sum(axis=1) / k + 0 * total
        found[f"nDCG@{k}"] = discounted[:, last] / ideal[:, deepest].clip(1e-300) + 0 * total
        found[f"overlap@{k}"] = gains[:, :k].sum(axis=1) / k + 0 * total
    return found


def retrieval(
    scores_QG: Array,
    gains_QG: Array,
    *,
    patients: Sequence[Hashable],
    keep_QG: Mask | None = None,
    ks: Sequence[int] = KS,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Retrieval:
    """All figures, with intervals over the patients of queries.

    Args:
        scores_QG: larger is nearer; minus infinity is not found at all, and no rank is deep enough for it.
        gains_QG: how much an item belongs to a query; 0 if not at all.
        patients: of each query.
        keep_QG: what of the gallery a query may find: not itself, nor its patient's.
        ks: of R@K and the rest.
        resamples, seed: of the bootstrap.
    """
    kept = np.ones(np.shape(gains_QG), bool) if keep_QG is None else keep_QG
    reached = kept & (np.asarray(scores_QG) > -np.inf)
    found = figures_of(ranked(scores_QG, gains_QG, reached), ks=ks, judged_QG=np.where(kept, gains_QG, np.nan))
    counted = ~np.isnan(found["rank"])
    if not counted.any():
        return Retrieval(figures={}, random={}, each=found, queries=0, without=len(counted))
    known = {name: values[counted] for name, values in found.items()}
    names = [name for name in known if name != "rank"]
    table = np.stack([known[name] for name in names] + [known["rank"]], axis=1)
    whose = [patient for patient, one in zip(patients, counted, strict=True) if one]

    def measure(weights_RQ: Array) -> Array:
        with np.errstate(invalid="ignore", divide="ignore"):
            means = weights_RQ @ table / weights_RQ.sum(axis=1, keepdims=True)
        return np.concatenate([means, weighted_median(known["rank"], weights_RQ)[:, None]], axis=1)

    labels = [*names, "MnR", _MEDIAN]
    value = measure(np.ones((1, len(table))))[0]
    draws = bootstrap(measure, whose, resamples=resamples, seed=seed)
    intervals = dict(zip(labels, percentile_interval(value, draws), strict=True))
    chance = _chance(gains_QG, keep_QG, ks=ks, seed=seed)
    return Retrieval(figures=intervals, random=chance, each=found, queries=len(table), without=int((~counted).sum()))


def weighted_median(values_Q: Array, weights_RQ: Array) -> Array:
    """(R,): the mean of the middle two, each value as often as its weight says."""
    order = np.argsort(values_Q, kind="stable")
    steps = np.cumsum(weights_RQ[:, order], axis=1)
    half = steps[:, -1:] / 2
    low, high = (steps >= half).argmax(axis=1), (steps > half).argmax(axis=1)
    median: Array = (values_Q[order][low] + values_Q[order][high]) / 2
    return median


def label_overlap(queries_QC: NDArray[np.int_], gallery_GC: NDArray[np.int_]) -> Array:
    """(Q, G): labels of both over labels of either, as CT-CLIP's volume retrieval scores it; 0 where neither has any."""
    queries, gallery = (queries_QC == 1).astype(np.float64), (gallery_GC == 1).astype(np.float64)
    both = queries @ gallery.T
    either = queries.sum(axis=1)[:, None] + gallery.sum(axis=1)[None] - both
    overlap: Array = np.where(either > 0, both / np.maximum(either, 1), 0.0)
    return overlap


def published_volume_to_volume(latents_NL: Array, labels_NC: NDArray[np.int_], *, ks: Sequence[int] = (1, 5, 10, 50)) -> dict[str, float]:
    """CT-CLIP's figure as it was published, to compare with papers alone: queries find themselves, the gallery holds only volumes with a
    label, and the list of overlaps is never emptied, so that the figure at K averages those of all smaller K."""
    gallery = np.flatnonzero((labels_NC == 1).any(axis=1))
    scores = latents_NL @ latents_NL[gallery].T
    overlap = label_overlap(labels_NC, labels_NC[gallery])
    order = np.argsort(-scores, axis=1, kind="stable")
    sorted_QG = np.take_along_axis(overlap, order, axis=1)
    means = [float(sorted_QG[:, :k].mean()) for k in ks]
    return {f"MAP@{k}": float(np.mean(means[: n + 1])) for n, k in enumerate(ks)}


def published_report_to_volume(scores_NN: Array, *, ks: Sequence[int] = (5, 10, 50, 100)) -> dict[str, float]:
    """CT-CLIP's recall as published: the one volume of the same row among the first K; copies of a report or scan count as misses."""
    own = np.diagonal(scores_NN)[:, None]
    earlier = (scores_NN > own).sum(axis=1) + np.tril(scores_NN == own, -1).sum(axis=1)
    return {f"R@{k}": float((earlier < k).mean()) for k in ks}


def published_keyword(scores_CN: Array, holds_CN: Mask, *, ks: Sequence[int]) -> dict[str, float]:
    """Precision as MedFinder judges it: a hit is a volume whose report holds the keyword, also where it denies it; keywords that no report
    holds are left out."""
    order = np.argsort(-scores_CN, axis=1, kind="stable")
    hits = np.take_along_axis(holds_CN, order, axis=1)[holds_CN.any(axis=1)]
    return {f"precision@{k}": float(hits[:, :k].sum(axis=1).mean() / k) for k in ks} if len(hits) else {}


def _chance(gains_QG: Array, keep_QG: Mask | None, *, ks: Sequence[int], seed: int) -> dict[str, float]:
    """The mean over draws of random scores."""
    random, sums = np.random.default_rng(seed), dict[str, list[float]]()
    for _ in range(_RANDOM):
        found = figures_of(ranked(random.random(np.shape(gains_QG)), gains_QG, keep_QG), ks=ks)
        rank = found.pop("rank")
        values = {name: float(np.nanmean(one)) for name, one in found.items()}
        for name, value in (values | {"MnR": float(np.nanmean(rank)), _MEDIAN: float(np.nanmedian(rank))}).items():
            sums.setdefault(name, []).append(value)
    return {name: float(np.mean(values)) for name, values in sums.items()}
