"""Write how well saliency maps place findings, as explanation.json and as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from thoracle.evaluation.explanation.evaluate import ALL, BASELINES, LocalizationScores
from thoracle.evaluation.html.page import figure, heading, page, paragraph, table, with_bounds
from thoracle.evaluation.html.plain_json import plain_json
from thoracle.evaluation.html.plots import dots
from thoracle.inference.explain import Method
from thoracle.metrics.localization import METRICS
from thoracle.types import RESEARCH_USE


def verdicts(scores: Mapping[str, LocalizationScores], methods: Sequence[Method]) -> list[str]:
    """Say for each method and metric whether it beats both baselines, over all abnormalities and for which of them."""
    sentences = []
    for method in methods:
        for metric in METRICS:
            worse = [label for label, placed in scores.items() if label != ALL and not placed.beats(metric, method)]
            ahead = [name for name, lead in scores[ALL].lead[metric][method].items() if not lead.low > 0]
            overall = f"DOES NOT BEAT {' and '.join(ahead)}" if ahead else f"beats {' and '.join(BASELINES)}"
            by_label = f"of {len(scores) - 1} abnormalities it beats both in {len(scores) - 1 - len(worse)}"
            exceptions = f", and not in {', '.join(worse)}" if worse else ""
            sentences.append(f"{method}, {metric}: over all it {overall}; {by_label}{exceptions}.")
    return sentences


def explanation_json(scores: Mapping[str, LocalizationScores], methods: Sequence[Method], *, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Build the document of explanation.json, with null for NaN; `facts` name the model and the volumes."""
    documents = {label: label_scores.as_dict() for label, label_scores in scores.items()}
    document: dict[str, Any] = plain_json({"notice": RESEARCH_USE, **facts, "verdicts": verdicts(scores, methods), "found": documents})
    return document


def write_page(scores: Mapping[str, LocalizationScores], methods: Sequence[Method], *, notes: Sequence[str]) -> bytes:
    """Draw the verdicts, and each metric of each abnormality, as HTML."""
    sentences = verdicts(scores, methods)
    parts = [*map(paragraph, notes), heading("Do maps say where findings are?"), *map(paragraph, sentences)]
    for metric in METRICS:
        parts += _metric_section(metric, scores, methods)
    return page("Explanations against masks", parts)


def _metric_section(metric: str, scores: Mapping[str, LocalizationScores], methods: Sequence[Method]) -> list[str]:
    maps = (*methods, *BASELINES)
    rows: list[list[object]] = []
    for label, placed in scores.items():
        cells = [with_bounds(interval.value, interval.low, interval.high) for interval in placed.scores[metric].values()]
        leads = ["beats both" if placed.beats(metric, method) else "does not" for method in methods]
        rows.append([label, placed.volumes, *cells, *leads])
    series = {name: [placed.scores[metric][name] for placed in scores.values()] for name in maps}
    columns = ["", "volumes", *maps, *(f"{method}: beats both?" for method in methods)]
    return [heading(metric), table(columns, rows), figure(dots(list(scores), series, x=metric))]
