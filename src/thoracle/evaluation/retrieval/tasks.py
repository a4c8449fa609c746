"""Define retrieval tasks over one gallery of volumes: queries, what is relevant to each, and what is excluded.

Knows arrays and texts; where they come from, an index or a table, it does not know. Shapes: N volumes, L latent width, C labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from thoracle.errors import InputError
from thoracle.evaluation.retrieval.published import (
    published_keyword,
    published_report_to_volume,
    published_shared_label,
    published_volume_to_volume,
)
from thoracle.metrics.bootstrap import RESAMPLES
from thoracle.metrics.retrieval import RetrievalResult, evaluate_retrieval, label_overlap
from thoracle.types import FloatArray

Name = Literal["ct-clip", "bimcv-r"]
#: The K of a protocol's figures, and what its figures are.
PROTOCOLS: Final[dict[Name, tuple[tuple[int, ...], str]]] = {
    "ct-clip": (
        (1, 5, 10, 50, 100),
        "As CT-CLIP was measured: report to volume, and volume to volume by the overlap of labels, here with the query's patient left out;"
        " its MAP@K of volumes is a running mean of overlaps, and is called so here.",
    ),
    "bimcv-r": ((1, 5, 10, 50), "As MedFinder was measured on BIMCV-R: words to image, image to words, image to image, keyword."),
}
#: How ties, duplicates and several volumes are dealt with, for whoever reads the figures.
SCORING_NOTES: Final = (
    "Ties count against the query. To a report belong all volumes of its scan and of scans whose report has the same words; to a volume,"
    " the reports with the words of its own. Words are those of whole reports, findings and impression, however spaced, whichever section"
    " is encoded: two reports with one impression and other findings are two, though their latents are one and tie."
    " Volume to volume leaves out the query's patient and volumes of the same voxels; what belongs"
    " is graded by labels of both over labels of either (nDCG, overlap); where one shared label is a hit, chance finds as much,"
    " so that R@K stands under the published protocol alone. Keyword looks"
    " in reports, by BM25, for all words of an abnormality's name, and is"
    " judged by labels, as words to volume is: what a report denies is found and counts as wrong, what it calls otherwise is missed."
    " Queries to which nothing belongs are left out. Bounds are over the queries' patients, of words and keywords over the abnormalities."
)


_GRADED: Final = ("nDCG", "overlap@")


@dataclass(frozen=True, kw_only=True, eq=False)
class Gallery:
    """Hold N volumes: latents (N, L) of unit norm, labels (N, C) of 1, 0, -1, whose they are, what their whole reports say or its hash
    ("" where nothing is encoded), and a hash of their voxels ("" if unknown).
    """

    latents_NL: FloatArray
    labels_NC: NDArray[np.int_]
    scans: tuple[str, ...]
    patients: tuple[str, ...]
    texts: tuple[str, ...]
    voxels: tuple[str, ...]


def run_tasks(
    volumes: Gallery,
    *,
    protocol: Name,
    texts_NL: FloatArray | None,
    words_CL: FloatArray | None,
    keyword_CN: FloatArray | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[dict[str, RetrievalResult], dict[str, dict[str, float]]]:
    """Run a protocol's tasks; return their metrics, and those of the published way, by task.

    Args:
        volumes: the gallery, whose members are also the queries.
        protocol: of `PROTOCOLS`.
        texts_NL: latents of the volumes' reports; without, no task has reports.
        words_CL: latents of the labels' names; without, no task has words.
        keyword_CN: what a keyword search for the labels' names scores, minus infinity for what it does not find; without, no such task.
        resamples, seed: of the bootstrap.

    Raises:
        InputError: fewer than two scans: among the volumes of one, every rank is right.
    """
    if (scans := len({*volumes.scans})) < 2:
        hint = "Index more, choose another --split, or a larger --gallery-size."
        raise InputError(f"{len(volumes.scans)} volumes of {scans} scans are no gallery", hint=hint)
    measure = partial(evaluate_retrieval, ks=PROTOCOLS[protocol][0], resamples=resamples, seed=seed)
    metrics, published = dict[str, RetrievalResult](), dict[str, dict[str, float]]()
    if texts_NL is not None and any(volumes.texts):
        scores_NN = texts_NL @ volumes.latents_NL.T
        metrics |= _reports(volumes, scores_NN, measure)
        if protocol == "ct-clip":
            published["report to volume"] = published_report_to_volume(scores_NN)
    by_labels = _volumes(volumes, measure)
    metrics["volume to volume"] = _graded(by_labels)
    if by_labels.queries:
        published["volume to volume"] = published_shared_label(by_labels)
    if protocol == "ct-clip" and (volumes.labels_NC == 1).any():
        published.setdefault("volume to volume", {}).update(published_volume_to_volume(volumes.latents_NL, volumes.labels_NC))
    held_CN = (volumes.labels_NC.T == 1).astype(np.float64)
    if words_CL is not None:
        scores_CN = words_CL @ volumes.latents_NL.T
        metrics["words to volume"] = measure(scores_CN, held_CN, patients=range(len(held_CN)))
        if protocol == "bimcv-r" and keyword_CN is not None:
            published["words to volume"] = published_keyword(scores_CN, keyword_CN > -np.inf, ks=PROTOCOLS[protocol][0])
    if keyword_CN is not None:
        metrics["keyword"] = measure(keyword_CN, held_CN, patients=range(len(held_CN)))
    return metrics, published


def _reports(volumes: Gallery, scores_NN: FloatArray, measure: Callable[..., RetrievalResult]) -> dict[str, RetrievalResult]:
    """`scores_NN`: of each volume's report with each volume."""
    texts, scans, patients = (np.array(column) for column in (volumes.texts, volumes.scans, volumes.patients))
    reported = np.array([bool(text) for text in volumes.texts])
    same_text = _same(volumes.texts) & reported[:, None] & reported[None]
    belongs = (same_text | _same(volumes.scans)).astype(np.float64)
    queries, distinct = (np.flatnonzero(reported)[np.sort(np.unique(column[reported], return_index=True)[1])] for column in (scans, texts))
    return {
        "report to volume": measure(scores_NN[queries], belongs[queries], patients=patients[queries].tolist()),
        "volume to report": measure(
            scores_NN.T[reported][:, distinct], same_text[reported][:, distinct].astype(np.float64), patients=patients[reported].tolist()
        ),
    }


def _volumes(volumes: Gallery, measure: Callable[..., RetrievalResult]) -> RetrievalResult:
    hashed = np.array([bool(digest) for digest in volumes.voxels])
    return measure(
        volumes.latents_NL @ volumes.latents_NL.T,
        label_overlap(volumes.labels_NC, volumes.labels_NC),
        patients=volumes.patients,
        gallery_QG=~(_same(volumes.patients) | (_same(volumes.voxels) & hashed[:, None])),
    )


def _graded(retrieval: RetrievalResult) -> RetrievalResult:
    """The metrics that weigh how far labels agree; others count one shared label as a hit, of which chance finds as many."""
    metrics = {name: interval for name, interval in retrieval.metrics.items() if name.startswith(_GRADED)}
    random = {name: value for name, value in retrieval.random.items() if name in metrics}
    return replace(retrieval, metrics=metrics, random=random)


def _same(names: tuple[str, ...]) -> NDArray[np.bool_]:
    codes = np.unique(np.array(names), return_inverse=True)[1]
    same: NDArray[np.bool_] = codes[:, None] == codes[None]
    return same
