from __future__ import annotations

import csv
from pathlib import Path

from thoracle.cohort.journal import VolumeOutcome
from thoracle.cohort.manifest import CohortEntry
from thoracle.cohort.quality_report import findings_of, write_quality
from thoracle.cohort.reports import Report
from thoracle.cohort.sources import UNLABELLED
from thoracle.types import RESEARCH_USE

_OUTCOMES = (
    VolumeOutcome(volume="a", stamp="", cache="a", warnings=("No lungs.", "Slices are far apart.")),
    VolumeOutcome(volume="<b>", stamp="", error="GantryTilt", message="tilted <12>, not read"),
    VolumeOutcome(volume="c", stamp="", cache="c", warnings=("No lungs.",)),
)


def _entry(volume: str, patient: str, label: int | None) -> CohortEntry:
    labels = (label, *UNLABELLED[1:])
    return CohortEntry(
        volume=volume,
        scan=patient,
        patient=patient,
        split="train",
        source_sha256="",
        cache="",
        cache_sha256="",
        report=Report(),
        labels=labels,
    )


def test_every_refusal_warning_and_absence_is_a_row(tmp_path: Path) -> None:
    write_quality(tmp_path, [], findings_of(_OUTCOMES, absent=["d"]), outcomes={}, notes=())
    with (tmp_path / "quality.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["VolumeName", "status", "error", "message"],
            ["a", "warned", "", "No lungs."],
            ["a", "warned", "", "Slices are far apart."],
            ["<b>", "refused", "GantryTilt", "tilted <12>, not read"],
            ["c", "warned", "", "No lungs."],
            ["d", "absent", "", "In a table, and not in the folder."],
        ]


def test_the_page_counts_and_escapes_and_loads_nothing(tmp_path: Path) -> None:
    entries = [_entry("a", "p", 1), _entry("c", "p", 1), _entry("e", "q", 0)]
    write_quality(tmp_path, entries, findings_of(_OUTCOMES, absent=["d"]), outcomes={}, notes=("Two <i>notes</i>.",))
    page = (tmp_path / "quality.html").read_text()
    assert RESEARCH_USE in page
    assert "<td>train<td>2<td>2<td>3<td>0" in page, "patients, scans, volumes, with a report"
    assert "<td>Medical material<td>1 of 2<td><td>" in page, "scans, not volumes"
    assert "<td>&lt;b&gt;<td>GantryTilt<td>tilted &lt;12&gt;, not read" in page
    assert "<td>No lungs.<td>2" in page
    assert "Two &lt;i&gt;notes&lt;/i&gt;." in page
    assert not any(word in page for word in ("<script", "http", "src="))
