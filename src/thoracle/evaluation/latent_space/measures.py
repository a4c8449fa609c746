"""Measure the geometry of latents: alignment, uniformity, modality gap, effective rank, hubness, silhouette.

What is a mean over scans or over pairs of scans has an interval over patients; what a repeated scan changes by itself (rank, neighbours,
silhouette) has none. Shapes: N pairs of an image and a text, L latent width, R draws; latents have unit norm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
from scipy.spatial.distance import pdist, squareform
from scipy.stats import skew

from thoracle.errors import InputError
from thoracle.metrics.bootstrap import RESAMPLES, Interval, estimate
from thoracle.types import FloatArray

Projection = Literal["t-SNE", "PCA"]
PROJECTIONS: Final[tuple[Projection, ...]] = get_args(Projection)

#: Of hubness, as in Radovanović et al. (JMLR 2010).
NEIGHBOURS: Final = 10
#: Of t-SNE, as in the published script.
_PERPLEXITY: Final = 30.0


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Hold the geometry of one set of latents.

    Attributes:
        uniformity: log of the mean of exp(-2 d²) over pairs; lower is more evenly spread (Wang and Isola, arXiv:2005.10242).
        effective_rank: exponential of the entropy of the singular values of the centred latents (Roy and Vetterli, 2007).
        mean_length: of the mean of all latents; 0 is spread around the whole sphere, 1 is one point.
    """

    uniformity: Interval
    effective_rank: float
    mean_length: Interval


@dataclass(frozen=True, kw_only=True, eq=False)
class Space:
    """Hold images and texts together.

    Attributes:
        image, text: each alone; `even` is as many points drawn evenly from a sphere of that dimension, to compare with.
        alignment: mean of d² over pairs; lower is closer (Wang and Isola).
        modality_gap: distance of the two means (Liang et al., arXiv:2203.02053).
        paired_cosine, unpaired_cosine: means.
        hubness: skewness of how often each image is among the nearest of a text, and each text of an image.
        silhouette: of image latents, by label: -1 to 1, 0 where scans with and without it are not apart; NaN with one answer.
    """

    image: Geometry
    text: Geometry
    even: Geometry
    alignment: Interval
    modality_gap: Interval
    paired_cosine: Interval
    unpaired_cosine: Interval
    hubness_of_images: float
    hubness_of_texts: float
    silhouette: Mapping[str, float]


def measure_latent_space(
    image_NL: FloatArray,
    text_NL: FloatArray,
    *,
    truth_NK: FloatArray,
    labels: Sequence[str],
    patients: Sequence[str],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Space:
    """Measure uniformity, rank, hubness and alignment of image and text latents.

    Args:
        image_NL, text_NL: row i of both belongs together.
        truth_NK: 1, 0, NaN.
        labels: names of the K columns.
        patients: of the N scans.
        resamples, seed: of the draws.

    Raises:
        InputError: fewer than three pairs, or latents that are not of unit norm.
    """
    for what, latents in (("image", image_NL), ("text", text_NL)):
        if len(latents) < 3 or latents.shape != image_NL.shape:
            raise InputError(f"{len(latents)} {what} latents of shape {latents.shape} are no space", hint="Give three pairs at least.")
        wrong = np.flatnonzero(~(np.abs(np.linalg.norm(latents, axis=1) - 1) < 1e-3))  # NaN too
        if wrong.size:
            raise InputError(f"{what} latents of other norm than 1 in rows {', '.join(map(str, wrong[:10]))}", hint="Normalise them.")
    random = np.random.default_rng(0).normal(size=image_NL.shape)
    even = random / np.linalg.norm(random, axis=1, keepdims=True)
    cosines_NN = text_NL @ image_NL.T

    def measures(weights_RN: FloatArray) -> FloatArray:
        parts = [uniformity(latents, weights_RN) for latents in (image_NL, text_NL, even)]
        parts += [mean_length(latents, weights_RN) for latents in (image_NL, text_NL, even)]
        parts += [alignment(image_NL, text_NL, weights_RN), mean_length(image_NL - text_NL, weights_RN)]
        parts += [_mean(cosines_NN.diagonal(), weights_RN), _mean_of_pairs(cosines_NN, weights_RN)]
        return np.stack(parts, axis=1)

    intervals = estimate(measures, patients, resamples=resamples, seed=seed)
    image, text, evenly = (
        Geometry(uniformity=intervals[row], effective_rank=effective_rank(latents), mean_length=intervals[row + 3])
        for row, latents in enumerate((image_NL, text_NL, even))
    )
    return Space(
        image=image,
        text=text,
        even=evenly,
        alignment=intervals[6],
        modality_gap=intervals[7],
        paired_cosine=intervals[8],
        unpaired_cosine=intervals[9],
        hubness_of_images=hubness(cosines_NN),
        hubness_of_texts=hubness(cosines_NN.T),
        silhouette={label: silhouette(image_NL, truth_NK[:, k]) for k, label in enumerate(labels)},
    )


def findings_count(truth_NK: FloatArray) -> FloatArray:
    """Count the findings of each scan, (N,); NaN where none of its labels is known."""
    return np.where(np.isnan(truth_NK).all(axis=1), np.nan, np.nansum(truth_NK, axis=1))


def alignment(image_NL: FloatArray, text_NL: FloatArray, weights_RN: FloatArray) -> FloatArray:
    """Compute the mean squared distance of pairs, (R,)."""
    return _mean(((image_NL - text_NL) ** 2).sum(axis=1), weights_RN)


def uniformity(latents_NL: FloatArray, weights_RN: FloatArray) -> FloatArray:
    """Log of the mean Gaussian potential of all pairs, (R,); copies of one scan in a draw are no pair."""
    potentials_NN = squareform(np.exp(-2 * pdist(latents_NL, "sqeuclidean")))
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(_mean_of_pairs(potentials_NN, weights_RN)))


def mean_length(vectors_NL: FloatArray, weights_RN: FloatArray) -> FloatArray:
    """Compute the length of the mean vector, (R,)."""
    return np.asarray(np.linalg.norm(weights_RN @ vectors_NL / weights_RN.sum(axis=1, keepdims=True), axis=1))


def _mean(values_N: FloatArray, weights_RN: FloatArray) -> FloatArray:
    return np.asarray(weights_RN @ values_N / weights_RN.sum(axis=1))


def _mean_of_pairs(values_NN: FloatArray, weights_RN: FloatArray) -> FloatArray:
    """Average over ordered pairs of two scans."""
    squares_RN = weights_RN**2
    total_R = ((weights_RN @ values_NN) * weights_RN).sum(axis=1) - squares_RN @ values_NN.diagonal()
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(total_R / (weights_RN.sum(axis=1) ** 2 - squares_RN.sum(axis=1)))


def effective_rank(latents_NL: FloatArray) -> float:
    """Compute the effective rank: 1 where all latents lie on a line through their mean, L at most."""
    values = np.linalg.svd(latents_NL - latents_NL.mean(axis=0), compute_uv=False)
    shares = values[values > 1e-12 * max(values[0], 1e-300)]
    if not shares.size:
        return 1.0
    shares = shares / shares.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def hubness(cosines_QG: FloatArray, *, neighbours: int = NEIGHBOURS) -> float:
    """Compute the skewness of how many queries have each gallery item among their nearest: above 1, few are near to many. NaN where all
    are alike.
    """
    neighbours = min(neighbours, cosines_QG.shape[1])
    nearest = np.argpartition(-cosines_QG, neighbours - 1, axis=1)[:, :neighbours]
    counts = np.bincount(nearest.ravel(), minlength=cosines_QG.shape[1])
    return float(skew(counts)) if counts.std() > 0 else float("nan")


def silhouette(latents_NL: FloatArray, truth_N: FloatArray) -> float:
    """Compute the mean silhouette by cosine of scans with and without a label."""
    from sklearn.metrics import silhouette_score

    labelled = ~np.isnan(truth_N)
    answers = np.unique(truth_N[labelled])
    if len(answers) < 2 or labelled.sum() < 3:
        return float("nan")
    return float(silhouette_score(latents_NL[labelled], truth_N[labelled], metric="cosine"))


def project(latents_NL: FloatArray, method: Projection, *, seed: int = 0) -> FloatArray:
    """Project latents to (N, 2) for drawing. Distances in t-SNE mean nothing beyond neighbourhood; PCA's axes are those of most
    variance.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if method == "PCA":
        projected: FloatArray = PCA(n_components=2, random_state=seed).fit_transform(latents_NL)
        return projected
    perplexity = min(_PERPLEXITY, (len(latents_NL) - 1) / 3)
    drawn: FloatArray = (
        TSNE(perplexity=perplexity, init="pca", metric="cosine", random_state=seed).fit_transform(latents_NL).astype(np.float64)
    )
    return drawn
