"""Write the page of `thoracle demo`: what was made, how it learnt, and what it detects on held-out phantoms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any, Final

from numpy.typing import NDArray

from thoracle.evaluation.detection.summary import Scores, summarise
from thoracle.evaluation.html.page import figure, heading, page, paragraph, side_by_side, table, with_bounds
from thoracle.evaluation.html.plots import Line, Panel, dots, panels, slices
from thoracle.metrics.bootstrap import Interval

#: Which probabilities of held-out scans the page compares.
CONTRASTIVE: Final = "zero-shot"
TUNED: Final = "tuned prompts"
LIPRO: Final = "LiPro"
SUPERVISED: Final = "supervised"
BY_REGION: Final = "by region"
AVERAGED: Final = "both, averaged"
HISTOGRAM: Final = "HU histogram"
#: What the demo's page says where it was made in a few minutes; macro AUROC of seeds 0 to 2, docs/experiments.md of 2026-11-30.
WHOLE_DEMO: Final = (
    "This was made in a few minutes. The whole demo (`thoracle demo`: 3,000 phantoms, and a chat model) reached a macro AUROC of 0.69 to"
    " 0.73 zero-shot, 0.77 with tuned prompts and 0.90 to 0.91 by region, at three seeds."
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """Hold a held-out scan with one finding: HU and mask (z, x, y), and the tuned model's probability."""

    label: str
    scan: str
    probability: float
    hu_ZHW: NDArray[Any]
    mask_ZHW: NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Figures:
    """Hold AUROC of the macro average and of each label, by which probabilities they are of."""

    macro: Mapping[str, Interval]
    labels: Mapping[str, Mapping[str, Interval]]
    positives: Mapping[str, int]
    negatives: Mapping[str, int]


def figures_of(scores: Mapping[str, Scores]) -> Figures:
    """Summarize scores of the same scans with intervals over patients; the first have all labels, and what others lack is NaN."""
    summaries = {name: summarise(case_scores, thresholds=None) for name, case_scores in scores.items()}
    any_one, unknown = next(iter(scores.values())), Interval(value=nan, low=nan, high=nan)
    return Figures(
        macro={name: summary.average["macro_auroc"] for name, summary in summaries.items()},
        labels={
            name: {label: summary.by_label[label]["auroc"] if label in summary.by_label else unknown for label in any_one.labels}
            for name, summary in summaries.items()
        },
        positives={label: int((any_one.truth_NK[:, k] == 1).sum()) for k, label in enumerate(any_one.labels)},
        negatives={label: int((any_one.truth_NK[:, k] == 0).sum()) for k, label in enumerate(any_one.labels)},
    )


def write_page(
    figures: Figures,
    *,
    facts: Sequence[str],
    losses: Mapping[str, Mapping[int, float]],
    examples: Sequence[Example],
    more: Sequence[str],
    seconds: Mapping[str, float],
) -> bytes:
    """Write the demo's page.

    Args:
        figures: as `figures_of` gives them.
        facts: sentences on what was made.
        losses: by stage and step.
        examples: scans to look at.
        more: parts on what else was done, after detection.
        seconds: of each stage.
    """
    names, labels = list(figures.macro), list(figures.positives)
    rows = [
        [label, figures.positives[label], figures.negatives[label], *(bounds(figures.labels[name][label]) for name in names)]
        for label in labels
    ]
    pictures = [
        figure(
            slices(example.hu_ZHW, mask_ZHW=example.mask_ZHW, zoom=1.5),
            caption=f"{example.label} (in colour): probability {example.probability:.2f}; {example.scan}",
            width=430,
        )
        for example in examples
    ]
    curves = [
        Panel(title=stage, lines=[Line(x=list(points), y=list(points.values()))], x="step", y="loss") for stage, points in losses.items()
    ]
    parts = [
        paragraph("Everything here is made up: phantoms, their reports, and a model that has never seen a patient."),
        *(paragraph(detail) for detail in facts),
        heading("Detection on held-out phantoms"),
        table(
            ["AUROC", "present", "absent", *names],
            [["macro average", "", "", *map(bounds, figures.macro.values())], *rows],
        ),
        paragraph(
            "Intervals are 95%, by 1,000 draws of patients. Zero-shot is the contrastive model, LiPro a linear map on its latents;"
            " supervised is the same encoder from random weights and labels alone; averaged are the probabilities by region and of tuned"
            " prompts. The last column is a linear model that sees how often each HU occurs in a scan and nothing else: a model that is no"
            " better has not looked at the picture."
        ),
        figure(
            dots(labels, {name: [figures.labels[name][label] for label in labels] for name in names}, x="AUROC", reference=0.5),
            caption="The dashed line is chance.",
        ),
        *more,
        heading("Learning"),
        figure(panels(curves, columns=2, size=3.4)),
        heading("Held-out phantoms"),
        paragraph("One scan for each abnormality, cut through the middle of its mask: axial, coronal, sagittal."),
        side_by_side(pictures),
        heading("Time"),
        table(["", "seconds"], [[stage, f"{value:.0f}"] for stage, value in {**seconds, "all": sum(seconds.values())}.items()]),
    ]
    return page("Thoracle's demo", parts)


def bounds(interval: Interval) -> str:
    """Write an interval in a cell."""
    return with_bounds(interval.value, interval.low, interval.high)
