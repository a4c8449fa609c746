"""Score a model's maps against masks, beside baselines that know nothing of findings, with intervals over patients.

Shapes: N volumes, M maps (methods, then baselines), K abnormalities, 3 `METRICS`, R draws.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import numpy as np

from thoracle.cohort.manifest import Cohort, CohortEntry
from thoracle.errors import InputError
from thoracle.evaluation.detection.summary import mean_of_known
from thoracle.evaluation.explanation.baselines import lung_centre_baseline, random_score
from thoracle.evaluation.explanation.masks import read_mask, share_of_patches
from thoracle.evaluation.predict import entry_source, pending_entries, prefetch_volumes
from thoracle.files.atomic import sha256
from thoracle.inference.batch.result_table import ResultTable, RowSource
from thoracle.inference.explain import Method, saliency
from thoracle.inference.model import Model
from thoracle.metrics.bootstrap import RESAMPLES, Comparison, Interval, bootstrap, paired_difference, percentile_interval
from thoracle.metrics.localization import METRICS, localization_scores
from thoracle.types import ABNORMALITIES, FloatArray

BASELINES: Final = ("random", "centre of lung")
#: The name of what is averaged over abnormalities.
ALL: Final = "all abnormalities"


@dataclass(frozen=True, kw_only=True, eq=False)
class LocalizationScores:
    """Hold localization scores of one abnormality, or their average over all.

    Attributes:
        volumes: with the finding in their mask.
        scores: metric, map: mean over volumes.
        lead: metric, method, baseline: paired difference.
    """

    volumes: int
    scores: Mapping[str, Mapping[str, Interval]]
    lead: Mapping[str, Mapping[str, Mapping[str, Comparison]]]

    def beats(self, metric: str, method: str) -> bool:
        """Tell whether the interval of a method's lead over every baseline lies above 0."""
        return all(comparison.low > 0 for comparison in self.lead[metric][method].values())

    def as_dict(self) -> dict[str, Any]:
        """Give the scores as `explanation.json` holds them."""
        return {"volumes": self.volumes, "scores": asdict(self)["scores"], "over": asdict(self)["lead"]}


def columns(methods: Sequence[Method]) -> tuple[str, ...]:
    """Name the columns of the table that `measure` fills, in the order of (M, K, 3)."""
    return tuple(f"{source}: {label}: {metric}" for source in (*methods, *BASELINES) for label in ABNORMALITIES for metric in METRICS)


def with_masks(entries: Sequence[CohortEntry], masks: Mapping[str, Path]) -> list[CohortEntry]:
    """Select entries whose masks are there.

    Raises:
        InputError: there is none.
    """
    masked = [entry for entry in entries if entry.volume in masks]
    if not masked:
        raise InputError("no volume of the cohort has a mask of its name", hint="Give the phantoms that the cohort was prepared from.")
    return masked


def pending_masked(entries: Sequence[CohortEntry], table: ResultTable, masks: Mapping[str, Path]) -> list[CohortEntry]:
    """List the volumes that have no row, or one that was made of another volume or mask."""
    return pending_entries(entries, table, source_of=lambda entry: _masked_source(entry, masks))


def measure(
    model: Model,
    cohort: Cohort,
    entries: Sequence[CohortEntry],
    table: ResultTable,
    *,
    methods: Sequence[Method],
    masks: Mapping[str, Path],
) -> Iterator[str]:
    """Add a row for each volume that has none, and yield its name; cells of findings that its mask does not have are empty.

    Raises:
        ScanUnreadable: a mask that is none.
        CacheDamaged: a cached volume that is not what was written.
    """
    for entry, volume in prefetch_volumes(cohort, pending_masked(entries, table, masks)):
        maps = {method: saliency(model, volume, abnormalities=ABNORMALITIES, method=method) for method in methods}
        _, *sizes = next(iter(maps.values())).shape
        grid = (sizes[0], sizes[1], sizes[2])
        centre = lung_centre_baseline(volume, cohort.preprocess, grid)
        shares = share_of_patches(read_mask(masks[entry.volume], cohort.preprocess), grid)
        values = np.full((len(methods) + len(BASELINES), len(ABNORMALITIES), len(METRICS)), np.nan)
        for k, fraction in enumerate(shares):
            if fraction.any():
                noise = random_score(fraction, seed=[crc32(entry.volume.encode()), k])
                values[:, k] = [
                    *(localization_scores(maps[method][k], fraction) for method in methods),
                    noise,
                    localization_scores(centre, fraction),
                ]
        cells = ["" if np.isnan(score) else f"{score:.6g}" for score in values.ravel()]
        table.add(entry.volume, cells, source=_masked_source(entry, masks))
        yield entry.volume


def _masked_source(entry: CohortEntry, masks: Mapping[str, Path]) -> RowSource:
    return replace(entry_source(entry), reading=f"{entry.cache_sha256} {sha256(masks[entry.volume])}")


def values_of(table: ResultTable, entries: Sequence[CohortEntry], *, methods: Sequence[Method]) -> FloatArray:
    """Return (N, M, K, 3) of what `measure` wrote."""
    rows = [[float(cell) if cell else np.nan for cell in table.rows[entry.volume]] for entry in entries]
    return np.array(rows).reshape(len(entries), len(methods) + len(BASELINES), len(ABNORMALITIES), len(METRICS))


def summarise(
    values_NMK3: FloatArray, patients: Sequence[str], *, methods: Sequence[Method], resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, LocalizationScores]:
    """Summarize by abnormality, without those that no mask has, and first `ALL`, the mean over abnormalities.

    Raises:
        InputError: no volume, or no draw.
    """
    defined = ~np.isnan(values_NMK3[:, 0, :, 0])
    filled = np.nan_to_num(values_NMK3).reshape(len(values_NMK3), -1)

    def mean(weights_RN: FloatArray) -> FloatArray:
        """Return means (R, M, K + 1, 3)."""
        with np.errstate(invalid="ignore", divide="ignore"):
            means = (weights_RN @ filled).reshape(-1, *values_NMK3.shape[1:]) / (weights_RN @ defined)[:, None, :, None]
        return np.concatenate([mean_of_known(means.swapaxes(2, 3))[:, :, None], means], axis=2)

    value, draws = mean(np.ones((1, len(defined))))[0], bootstrap(mean, patients, resamples=resamples, seed=seed)
    counts = [int(defined.any(axis=1).sum()), *defined.sum(axis=0).tolist()]
    named = zip((ALL, *ABNORMALITIES), counts, strict=True)
    return {name: _placed(value[:, k], draws[:, :, k], methods, count) for k, (name, count) in enumerate(named) if count}


def _placed(value_M3: FloatArray, draws_RM3: FloatArray, methods: Sequence[Method], volumes: int) -> LocalizationScores:
    maps = (*methods, *BASELINES)
    scores: dict[str, dict[str, Interval]] = {}
    lead: dict[str, dict[str, dict[str, Comparison]]] = {}
    for n, metric in enumerate(METRICS):
        scores[metric] = dict(zip(maps, percentile_interval(value_M3[:, n], draws_RM3[:, :, n]), strict=True))
        lead[metric] = {
            method: {
                baseline: paired_difference(value_M3[m, n], value_M3[b, n], draws_RM3[:, m, n], draws_RM3[:, b, n])[0]
                for b, baseline in enumerate(BASELINES, start=len(methods))
            }
            for m, method in enumerate(methods)
        }
    return LocalizationScores(volumes=volumes, scores=scores, lead=lead)
