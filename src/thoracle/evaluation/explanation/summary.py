"""Summarize scores of maps by abnormality, with intervals over patients: what leads where findings usually lie, and what does not.

Shapes: N volumes, M maps (`sources`), B `BASELINES`, K abnormalities, S `METRICS`, R draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from thoracle.evaluation.detection.summary import mean_of_known
from thoracle.evaluation.explanation.evaluate import ATLASES, BASELINES, PLACES, sources
from thoracle.inference.explain import Method
from thoracle.inference.localization.measured import Lead, MeasuredFinding, MeasuredMethod, PlaceRate
from thoracle.metrics.bootstrap import RESAMPLES, Comparison, Interval, bootstrap, paired_difference, percentile_interval
from thoracle.metrics.localization import METRICS
from thoracle.types import ABNORMALITIES, FloatArray

#: The name of what is averaged over abnormalities.
ALL: Final = "all abnormalities"
BETTER_ATLAS: Final = "better atlas"


@dataclass(frozen=True, kw_only=True, eq=False)
class LocalizationScores:
    """Hold localization scores of one abnormality, or their average over all.

    Attributes:
        volumes: with the finding in their mask.
        scores: metric, map: mean over volumes.
        lead: metric, baseline or `BETTER_ATLAS`: mean over volumes of the method's score minus the baseline's.
    """

    volumes: int
    scores: Mapping[str, Mapping[str, Interval]]
    lead: Mapping[str, Mapping[str, Comparison]]

    def beats_atlas(self, metric: str) -> bool:
        """Tell whether the interval of the method's lead over the better of two atlases lies above 0."""
        return self.lead[metric][BETTER_ATLAS].low > 0

    def as_dict(self) -> dict[str, Any]:
        """Give the scores as `explanation.json` holds them."""
        return {"volumes": self.volumes, "scores": asdict(self)["scores"], "over": asdict(self)["lead"]}


def summarise(
    values_NMKS: FloatArray, patients: Sequence[str], *, method: Method, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, LocalizationScores]:
    """Summarize by abnormality, without those that no mask has, and first `ALL`, the mean over abnormalities.

    The better atlas is the better one in each draw, so that choosing it is in the interval.

    Raises:
        InputError: no volume, or no draw.
    """
    leads_NBKS = values_NMKS[:, :1] - values_NMKS[:, 1 : 1 + len(BASELINES)]
    together = np.concatenate([values_NMKS, leads_NBKS], axis=1)
    defined, shape = ~np.isnan(together).reshape(len(together), -1), together.shape[1:]
    filled = np.nan_to_num(together).reshape(len(together), -1)

    def mean(weights_RN: FloatArray) -> FloatArray:
        """Return means (R, M + B, K + 1, S)."""
        with np.errstate(invalid="ignore", divide="ignore"):
            means = ((weights_RN @ filled) / (weights_RN @ defined)).reshape(-1, *shape)
        return np.concatenate([mean_of_known(means.swapaxes(2, 3))[:, :, None], means], axis=2)

    value, draws = mean(np.ones((1, len(together))))[0], bootstrap(mean, patients, resamples=resamples, seed=seed)
    present = ~np.isnan(values_NMKS[:, 0, :, 0])
    counts = [int(present.any(axis=1).sum()), *present.sum(axis=0).tolist()]
    named = zip((ALL, *ABNORMALITIES), counts, strict=True)
    return {name: _scores_of(value[:, k], draws[:, :, k], method, count) for k, (name, count) in enumerate(named) if count}


def place_rates(correct_N2K2: FloatArray) -> dict[str, tuple[PlaceRate | None, PlaceRate | None]]:
    """Count by abnormality how often side and lobe were right; None where no scan tells."""
    rates: dict[str, tuple[PlaceRate | None, PlaceRate | None]] = {}
    for k, name in enumerate(ABNORMALITIES):
        side, lobe = (_rate(correct_N2K2[:, :, k, kind]) for kind in range(len(PLACES)))
        rates[name] = side, lobe
    return rates


def measured_method(scores: Mapping[str, LocalizationScores], correct_N2K2: FloatArray, *, measured_on: str) -> MeasuredMethod:
    """Select what is kept beside a model."""
    rates = place_rates(correct_N2K2)
    findings = {
        name: MeasuredFinding(
            volumes=label_scores.volumes,
            lead={metric: _lead(leads[BETTER_ATLAS], _own_score(label_scores, metric)) for metric, leads in label_scores.lead.items()},
            side=rates[name][0],
            lobe=rates[name][1],
        )
        for name, label_scores in scores.items()
        if name != ALL
    }
    return MeasuredMethod(measured_on=measured_on, findings=findings)


def _scores_of(value: FloatArray, draws: FloatArray, method: Method, volumes: int) -> LocalizationScores:
    """Split (M + B, S) and (R, M + B, S) into scores and leads."""
    maps = sources(method)
    scores: dict[str, dict[str, Interval]] = {}
    lead: dict[str, dict[str, Comparison]] = {}
    for s, metric in enumerate(METRICS):
        scores[metric] = dict(zip(maps, percentile_interval(value[: len(maps), s], draws[:, : len(maps), s]), strict=True))
        leads, lead_draws = value[len(maps) :, s], draws[:, len(maps) :, s]
        over_atlases = [BASELINES.index(name) for name in ATLASES]
        leads = np.append(leads, leads[over_atlases].min())
        lead_draws = np.column_stack([lead_draws, lead_draws[:, over_atlases].min(axis=1)])
        lead[metric] = dict(zip((*BASELINES, BETTER_ATLAS), paired_difference(leads, 0.0, lead_draws, 0.0), strict=True))
    return LocalizationScores(volumes=volumes, scores=scores, lead=lead)


def _own_score(scores: LocalizationScores, metric: str) -> float:
    """Return the method's own mean score, whose map stands first of all."""
    return next(iter(scores.scores[metric].values())).value


def _lead(comparison: Comparison, score: float) -> Lead:
    low, high = (None if np.isnan(bound) else bound for bound in (comparison.low, comparison.high))
    return Lead(value=comparison.value, low=low, high=high, score=score)


def _rate(correct_N2: FloatArray) -> PlaceRate | None:
    method, atlas = correct_N2[~np.isnan(correct_N2[:, 0])].T
    return PlaceRate(scans=len(method), correct=int(method.sum()), atlas_correct=int(atlas.sum())) if len(method) else None
