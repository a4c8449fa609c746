"""Labels for scans that have a report and none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from thoracle.cohort.sources import UNLABELLED, Labels, VolumeSource


class LabelledReport(Protocol):
    """Hold a labeler's values for one report."""

    @property
    def values(self) -> Labels:
        """Return 0, 1, or None for unknown."""
        ...


class Labeller(Protocol):
    """Read reports."""

    @property
    def name(self) -> str:
        """Return the labeler's name."""
        ...

    def settings(self) -> dict[str, Any]:
        """Return the settings that labels depend on, as JSON values."""
        ...

    def label(self, reports: Sequence[str]) -> Sequence[LabelledReport]:
        """Label each report, in order."""
        ...


def label_missing(sources: Sequence[VolumeSource], labeller: Labeller) -> tuple[list[VolumeSource], str]:
    """Label sources that have a report and no label; return all sources and a note with the count."""
    texts = {source.volume: _text(source) for source in sources if source.labels == UNLABELLED and _text(source)}
    reports = list(dict.fromkeys(texts.values()))  # volumes of one scan share theirs
    values = dict(zip(reports, (report.values for report in labeller.label(reports)), strict=True))
    labelled = [replace(source, labels=values[texts[source.volume]]) if source.volume in texts else source for source in sources]
    unknown = sum(values[text] == UNLABELLED for text in texts.values())
    note = f"{len(texts) - unknown:,} volumes had no labels: these come from their reports, by {labeller.name}."
    return labelled, note + (f" {unknown:,} reports could not be read." if unknown else "")


def _text(source: VolumeSource) -> str:
    """As the table has it: quotes and bullets tell where a sentence ends."""
    parts = (part.strip() for part in (source.report.findings, source.report.impression))
    return " ".join(part for part in parts if part and part != "Not given.")
