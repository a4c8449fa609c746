"""Write how well saliency maps place findings, as explanation.json and as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from thoracle.evaluation.explanation.atlas import BODY_ATLAS
from thoracle.evaluation.explanation.evaluate import ATLASES, CEILING, sources
from thoracle.evaluation.explanation.summary import ALL, BETTER_ATLAS, LocalizationScores
from thoracle.evaluation.html.page import figure, heading, page, paragraph, table, with_bounds
from thoracle.evaluation.html.plain_json import plain_json
from thoracle.evaluation.html.plots import dots
from thoracle.inference.explain import Method
from thoracle.inference.localization.measured import MeasuredMethod, PlaceRate
from thoracle.metrics.localization import METRICS
from thoracle.types import RESEARCH_USE


def verdicts(scores: Mapping[str, LocalizationScores], method: Method) -> list[str]:
    """Say for each metric whether a method leads the better atlas, over all abnormalities and for which of them; and what else leads it."""
    sentences = []
    for metric in METRICS:
        lead = scores[ALL].lead[metric]
        atlas = lead[BETTER_ATLAS]
        overall = "better than" if atlas.low > 0 else "NO BETTER THAN"
        behind = [label for label, label_scores in scores.items() if label != ALL and not label_scores.beats_atlas(metric)]
        of = len(scores) - 1
        exceptions = f", and not for {', '.join(behind)}" if behind else ""
        others = [name for name, comparison in lead.items() if name != BETTER_ATLAS and name not in ATLASES and not comparison.low > 0]
        sentences.append(
            f"{method}, {metric}: over all {overall} where findings usually lie, by {with_bounds(atlas.value, atlas.low, atlas.high)};"
            f" better for {of - len(behind)} of {of} abnormalities{exceptions}."
            + (f" It DOES NOT BEAT {' and '.join(others)} over all." if others else "")
        )
    return sentences


def explanation_json(
    scores: Mapping[str, LocalizationScores], method: Method, *, measured: MeasuredMethod, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Build the document of explanation.json, with null for NaN; `facts` name the model and the volumes."""
    documents = {
        label: {**label_scores.as_dict(), **(_places(measured, label) if label != ALL else {})} for label, label_scores in scores.items()
    }
    document: dict[str, Any] = plain_json(
        {
            "notice": RESEARCH_USE,
            **facts,
            "verdicts": verdicts(scores, method),
            "found": documents,
        }
    )
    return document


def write_page(scores: Mapping[str, LocalizationScores], method: Method, *, measured: MeasuredMethod, notes: Sequence[str]) -> bytes:
    """Draw the verdicts, each metric of each abnormality, and how often sides and lobes are right, as HTML."""
    parts = [*map(paragraph, notes), heading("Do maps say where findings are?"), *map(paragraph, verdicts(scores, method))]
    for metric in METRICS:
        parts += _metric_section(metric, scores, method)
    rows = [
        [name, *_cells(finding.side), *_cells(finding.lobe)]
        for name, finding in measured.findings.items()
        if finding.side is not None or finding.lobe is not None
    ]
    if rows:
        parts += [
            heading("Side and lobe of the strongest place"),
            paragraph("Of scans with the finding on one side alone, or in named lobes but not in all: in how many the answer is right."),
            table(["", "scans", "side right", BODY_ATLAS, "scans", "lobe right", BODY_ATLAS], rows),
        ]
    return page("Explanations against masks", parts)


def _metric_section(metric: str, scores: Mapping[str, LocalizationScores], method: Method) -> list[str]:
    maps = sources(method)
    rows: list[list[object]] = []
    for label, label_scores in scores.items():
        cells = [with_bounds(interval.value, interval.low, interval.high) for interval in label_scores.scores[metric].values()]
        lead = label_scores.lead[metric][BETTER_ATLAS]
        verdict = "better" if label_scores.beats_atlas(metric) else "no better"
        rows.append([label, label_scores.volumes, *cells, with_bounds(lead.value, lead.low, lead.high), verdict])
    series = {name: [label_scores.scores[metric][name] for label_scores in scores.values()] for name in (method, *ATLASES, CEILING)}
    columns = ["", "volumes", *maps, f"lead over the {BETTER_ATLAS}", "than where it usually lies"]
    return [heading(metric), table(columns, rows), figure(dots(list(scores), series, x=metric))]


def _cells(rate: PlaceRate | None) -> list[object]:
    return [0, "–", "–"] if rate is None else [rate.scans, rate.correct / rate.scans, rate.atlas_correct / rate.scans]


def _places(measured: MeasuredMethod, label: str) -> dict[str, Any]:
    finding = measured.findings[label]
    return {name: None if rate is None else vars(rate) for name, rate in (("side", finding.side), ("lobe", finding.lobe))}
