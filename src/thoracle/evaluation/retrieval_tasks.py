"""What a person looks for, as tasks over one gallery of volumes: which queries, what belongs to each, what is left out.

Knows arrays and texts; where they come from, an index or a table, it does not know. Shapes: N volumes, L latent width, C labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from thoracle.errors import InputError
from thoracle.evaluation.intervals import RESAMPLES, Array
from thoracle.evaluation.retrieval import (
    Retrieval,
    label_overlap,
    published_report_to_volume,
    published_volume_to_volume,
    retrieval,
)

Name = Literal["ct-clip", "bimcv-r"]
#: The K of a protocol's figures, and what its figures are.
PROTOCOLS: Final[dict[Name, tuple[tuple[int, ...], str]]] = {
    "ct-clip": (
        (1, 5, 10, 50, 100),
        "As CT-CLIP was measured: report to volume, and volume to volume by the overlap of labels, here with the query's patient left out.",
    ),
    "bimcv-r": ((1, 5, 10, 50), "As MedFinder was measured on BIMCV-R: words to image, image to words, image to image, keyword."),
}
#: How ties, duplicates and several volumes are dealt with, for whoever reads the figures.
RULES: Final = (
    "Ties count against the query. To a report belong all volumes of its scan and of scans whose report has the same words; to a volume,"
    " the reports with the words of its own. Volume to volume leaves out the query's patient and volumes of the same voxels; what belongs"
    " is graded by labels of both over labels of either. Queries to which nothing belongs are left out. Bounds are over the queries'"
    " patients, of words for an abnormality over the abnormalities."
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Volumes:
    """N volumes: latents (N, L) of unit norm, labels (N, C) of 1, 0, -1, whose they are, what their reports say ("" if nothing), and a
    hash of their voxels ("" if unknown)."""

    latents_NL: Array
    labels_NC: NDArray[np.int_]
    scans: tuple[str, ...]
    patients: tuple[str, ...]
    texts: tuple[str, ...]
    voxels: tuple[str, ...]


def run_tasks(
    volumes: Volumes,
    *,
    protocol: Name,
    texts_NL: Array | None,
    words_CL: Array | None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[dict[str, Retrieval], dict[str, dict[str, float]]]:
    """The tasks' figures, and those of the published way, by task.

    Args:
        volumes: the gallery, whose members are also the queries.
        protocol: of `PROTOCOLS`.
        texts_NL: latents of the volumes' reports; without, no task has reports.
        words_CL: latents of the labels' names; without, no task has words.
        resamples, seed: of the bootstrap.

    Raises:
        InputError: fewer than two volumes.
    """
    if len(volumes.scans) < 2:
        raise InputError(f"{len(volumes.scans)} volumes are no gallery", cure="Index more, or choose another --split.")
    ks = PROTOCOLS[protocol][0]
    found, published = dict[str, Retrieval](), dict[str, dict[str, float]]()
    patients, same_patient = np.array(volumes.patients), _same(volumes.patients)
    told = np.array([bool(text) for text in volumes.texts])
    if texts_NL is not None and told.any():
        same_text = _same(volumes.texts) & told[:, None] & told[None]
        one_each = np.sort(np.unique(np.array(volumes.scans)[told], return_index=True)[1])
        queries = np.flatnonzero(told)[one_each]
        belongs = (same_text | _same(volumes.scans)).astype(np.float64)
        scores = texts_NL @ volumes.latents_NL.T
        found["report to volume"] = retrieval(
            scores[queries], belongs[queries], patients=patients[queries].tolist(), ks=ks, resamples=resamples, seed=seed
        )
        distinct = np.flatnonzero(told)[np.sort(np.unique(np.array(volumes.texts)[told], return_index=True)[1])]
        found["volume to report"] = retrieval(
            scores.T[told][:, distinct],
            same_text[told][:, distinct].astype(np.float64),
            patients=patients[told].tolist(),
            ks=ks,
            resamples=resamples,
            seed=seed,
        )
        if protocol == "ct-clip":
            published["report to volume"] = published_report_to_volume(scores)
    known = np.array([bool(one) for one in volumes.voxels])
    copies = _same(volumes.voxels) & known[:, None]
    found["volume to volume"] = retrieval(
        volumes.latents_NL @ volumes.latents_NL.T,
        label_overlap(volumes.labels_NC, volumes.labels_NC),
        patients=volumes.patients,
        keep_QG=~(same_patient | copies),
        ks=ks,
        resamples=resamples,
        seed=seed,
    )
    if protocol == "ct-clip" and (volumes.labels_NC == 1).any():
        published["volume to volume"] = published_volume_to_volume(volumes.latents_NL, volumes.labels_NC)
    if words_CL is not None:
        held = (volumes.labels_NC.T == 1).astype(np.float64)
        found["words to volume"] = retrieval(
            words_CL @ volumes.latents_NL.T, held, patients=range(len(held)), ks=ks, resamples=resamples, seed=seed
        )
    return found, published


def _same(names: tuple[str, ...]) -> NDArray[np.bool_]:
    codes = np.unique(np.array(names), return_inverse=True)[1]
    same: NDArray[np.bool_] = codes[:, None] == codes[None]
    return same
