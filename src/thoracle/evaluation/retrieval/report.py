"""Write a retrieval evaluation as results.json and as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from thoracle.evaluation.html.page import heading, page, paragraph, shown, table, terms, with_bounds
from thoracle.evaluation.retrieval.tasks import PROTOCOLS, SCORING_NOTES, Name
from thoracle.metrics.retrieval import RetrievalResult
from thoracle.types import RESEARCH_USE

#: A change that breaks readers of the JSON takes the next number.
SCHEMA: Final = "thoracle.retrieval/2"
_METRICS: Final = (
    *("R@1", "R@5", "R@10", "R@50", "R@100", "MdR", "MnR", "MAP@10", "precision@10"),
    *("nDCG@10", "nDCG@50", "overlap@10", "overlap@50"),
)
_LABEL_METRIC: Final = "precision@10"
_LABEL_TASKS: Final = ("words to volume", "keyword")
_UNTRAINED: Final = "UNTRAINED WEIGHTS: what is found means nothing."


@dataclass(frozen=True, kw_only=True, eq=False)
class RetrievalReport:
    """Collect the metrics of a gallery's tasks and what they depend on.

    Attributes:
        protocol: of `PROTOCOLS`.
        tasks: metrics by task.
        published: metrics computed the published way, by task and metric.
        prevalence: fraction of volumes labelled with each abnormality.
        gallery: numbers of volumes, scans and patients.
        model: settings of the model, and the `section` of reports that was encoded.
        trained: whether the model was.
    """

    protocol: Name
    tasks: Mapping[str, RetrievalResult]
    published: Mapping[str, Mapping[str, float]]
    prevalence: Mapping[str, float]
    gallery: Mapping[str, int]
    model: Mapping[str, Any]
    trained: bool

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warn of untrained weights."""
        return () if self.trained else (_UNTRAINED,)

    def as_dict(self) -> dict[str, Any]:
        """Build the document of results.json, of plain JSON types."""
        return {
            "schema": SCHEMA,
            "notice": RESEARCH_USE,
            "protocol": self.protocol,
            "rules": SCORING_NOTES,
            "model": dict(self.model),
            "trained": self.trained,
            "gallery": dict(self.gallery),
            "tasks": {task: _task(retrieval) for task, retrieval in self.tasks.items()},
            "published": {task: dict(metrics) for task, metrics in self.published.items()},
            "prevalence": dict(self.prevalence),
            _LABEL_METRIC: self.by_label(),
        }

    def by_label(self) -> dict[str, dict[str, float | None]]:
        """Give precision@10 of each abnormality's text and keyword query; None where no volume has the abnormality."""
        return {
            task: {
                name: float(precision) if self.prevalence[name] else None
                for name, precision in zip(self.prevalence, self.tasks[task].per_query[_LABEL_METRIC], strict=True)
            }
            for task in _LABEL_TASKS
            if task in self.tasks
        }

    def summary(self, task: str) -> str:
        """Say how many queries a task had."""
        return f"{self.tasks[task].queries:,} queries; {self.tasks[task].queries_without_relevant:,} more to which nothing belongs."

    def rows(self, task: str) -> list[tuple[str, str, float]]:
        """List a task's metrics: name, value with bounds, value of random scores."""
        retrieval = self.tasks[task]
        return [
            (name, with_bounds(retrieval.metrics[name].value, retrieval.metrics[name].low, retrieval.metrics[name].high), random)
            for name in _METRICS
            if name in retrieval.metrics
            for random in [retrieval.random[name]]
        ]

    def published_lines(self, task: str) -> list[str]:
        """Say a task's metrics as they were published."""
        return [f"{self.protocol} as published, {name}: {shown(metric)}" for name, metric in self.published.get(task, {}).items()]


def write_page(report: RetrievalReport) -> bytes:
    """Draw the report as HTML: rules, gallery, each task's metrics beside chance, and each abnormality's."""
    counts = ", ".join(f"{count:,} {name}" for name, count in report.gallery.items())
    gallery = f"Gallery: {counts}. Of a report: {report.model['section']}."
    parts = [paragraph(text) for text in (*report.warnings, PROTOCOLS[report.protocol][1], SCORING_NOTES, gallery)]
    for task in report.tasks:
        parts += [heading(task), paragraph(report.summary(task)), table(("", "value (95%)", "random"), report.rows(task))]
        parts += map(paragraph, report.published_lines(task))
    return page("Retrieval", [*parts, *_label_section(report), *map(paragraph, terms(report.model))])


def _task(retrieval: RetrievalResult) -> dict[str, Any]:
    return {
        "random": dict(retrieval.random),
        "queries": retrieval.queries,
        "without": retrieval.queries_without_relevant,
        "figures": {name: asdict(interval) for name, interval in retrieval.metrics.items()},
    }


def _label_section(report: RetrievalReport) -> Sequence[str]:
    by_label = report.by_label()
    if not by_label:
        return []
    rows = [(name, fraction, *_precisions(by_label, name)) for name, fraction in report.prevalence.items()]
    return [
        heading("By abnormality"),
        paragraph("Prevalence is the share of volumes that are labelled with it, which is what chance finds."),
        table((_LABEL_METRIC, "prevalence", *by_label), rows),
    ]


def _precisions(by_label: Mapping[str, Mapping[str, float | None]], name: str) -> list[float]:
    return [float("nan") if (precision := task[name]) is None else precision for task in by_label.values()]
