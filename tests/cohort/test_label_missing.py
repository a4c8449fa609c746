from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thoracle.cohort.label_missing import label_missing
from thoracle.cohort.reports import Report
from thoracle.cohort.sources import UNLABELLED, Labels, VolumeSource

STATED: Labels = (1, *(0,) * 17)


@dataclass
class Labelled:
    values: Labels


class Labeller:
    name = "counting"

    def __init__(self) -> None:
        self.read: list[str] = []

    def settings(self) -> dict[str, Any]:
        return {}

    def label(self, reports: Sequence[str]) -> list[Labelled]:
        self.read += reports
        return [Labelled(UNLABELLED if "Latin" in report else STATED) for report in reports]


def source(volume: str, *, findings: str = "", impression: str = "", labels: Labels = UNLABELLED) -> VolumeSource:
    report = Report(findings=findings, impression=impression)
    return VolumeSource(volume=volume, scan=volume, patient="p", path=Path(volume), report=report, labels=labels)


def test_only_unlabelled_reports_are_read_and_each_once() -> None:
    labelled_before = (0,) * 18
    labeller = Labeller()
    sources = [
        source("a", findings="Catheter."),
        source("b", findings="Catheter."),
        source("c", findings="Catheter.", labels=labelled_before),
        source("d"),
        source("e", findings="Latin", impression="Not given."),
    ]
    result, note = label_missing(sources, labeller)
    assert labeller.read == ["Catheter.", "Latin"]
    assert [entry.labels for entry in result] == [STATED, STATED, labelled_before, UNLABELLED, UNLABELLED]
    assert "2 volumes had no labels" in note
    assert "by counting" in note
    assert "1 reports could not be read" in note
