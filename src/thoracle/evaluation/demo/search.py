"""Show how well held-out phantoms are retrieved in the demo, beside chance, and the hits of one query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from thoracle.errors import MetadataError
from thoracle.evaluation.html.page import figure, heading, paragraph, side_by_side, table, with_bounds
from thoracle.files.json_file import read_json_object
from thoracle.metrics.bootstrap import Interval

_BUDGET: Final = 1 << 26


@dataclass(frozen=True, kw_only=True)
class SearchQuality:
    """Hold how well an index is searched.

    Attributes:
        recall: R@10 of report to volume, and what chance has.
        words: of each abnormality precision@10 of its name as a text, and prevalence, which is what chance has.
        scans: of the gallery.
    """

    recall: tuple[Interval, float]
    words: Mapping[str, tuple[float, float]]
    scans: int


@dataclass(frozen=True, kw_only=True)
class HitPicture:
    """Hold a hit's PNG of slices and its labels."""

    slices: bytes
    labels: Sequence[str]


def read_found(path: Path) -> SearchQuality:
    """Read the JSON of `thoracle evaluate retrieval`, without abnormalities that no scan has."""
    hint = "Give what `thoracle evaluate retrieval` wrote."
    return read_json_object(path, parse=_parse, refusal=MetadataError, detail="is no evaluation of retrieval", hint=hint, budget=_BUDGET)


def _parse(values: Mapping[str, Any]) -> SearchQuality:
    task = values["tasks"]["report to volume"]
    precision = values["precision@10"]["words to volume"]
    return SearchQuality(
        recall=(Interval(**task["figures"]["R@10"]), task["random"]["R@10"]),
        words={name: (value, values["prevalence"][name]) for name, value in precision.items() if value is not None},
        scans=values["gallery"]["scans"],
    )


def sentences(quality: SearchQuality) -> list[str]:
    """Write the metrics as sentences; nothing is said of names where no scan has an abnormality."""
    recall, chance = quality.recall
    texts = [
        f"Of {quality.scans:,} held-out scans, a report finds its own among the first ten volumes in"
        f" {with_bounds(recall.value, recall.low, recall.high)}: {recall.value / chance:.1f} times chance, which is {chance:.3f}."
    ]
    if quality.words:
        lift = median(precision / prevalence for precision, prevalence in quality.words.values())
        texts.append(f"Of the first ten volumes for an abnormality's name {lift:.1f} times as many have it as of all (median).")
    return texts


def section(quality: SearchQuality, *, query_text: str, hits: Sequence[HitPicture]) -> list[str]:
    """Build the parts of the demo's page; `hits` are those of the text `query_text`."""
    rows = [[name, precision, prevalence, f"{precision / prevalence:.1f}"] for name, (precision, prevalence) in quality.words.items()]
    pictures = [
        figure(hit.slices, caption=f"{rank}. {', '.join(hit.labels) or 'no abnormality'}", width=430) for rank, hit in enumerate(hits, 1)
    ]
    return [
        heading("Search among held-out phantoms"),
        *map(paragraph, sentences(quality)),
        table(["a name as a text", "precision@10", "prevalence", "times chance"], rows),
        paragraph(f"The first hits for the text “{query_text}”, with all that was painted into them:"),
        side_by_side(pictures),
    ]
