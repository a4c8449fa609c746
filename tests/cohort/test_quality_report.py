from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path

from thoracle.cohort.demographics import Demographics
from thoracle.cohort.journal import VolumeOutcome
from thoracle.cohort.manifest import CohortEntry
from thoracle.cohort.quality_report import findings_of, leak_issues, write_quality
from thoracle.cohort.reports import Report
from thoracle.cohort.sources import UNLABELLED
from thoracle.cohort.splits import Leakage
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


def test_where_a_volume_comes_from_and_what_was_mended_are_rows_and_what_was_mended_is_counted(tmp_path: Path) -> None:
    outcomes = [
        VolumeOutcome(
            volume="a", stamp="", origin="NRRD; HU = 1 x stored + 0.", notes=("Links not followed: 29.", "Not applied: slope 2.")
        ),
        VolumeOutcome(volume="b", stamp="", notes=("Not applied: slope 2.",)),
    ]
    issues = findings_of(outcomes, absent=())
    assert [(issue.volume, issue.status, issue.message) for issue in issues] == [
        ("a", "noted", "Links not followed: 29."),
        ("a", "noted", "Not applied: slope 2."),
        ("a", "read", "NRRD; HU = 1 x stored + 0."),
        ("b", "noted", "Not applied: slope 2."),
    ]
    write_quality(tmp_path, [], issues, outcomes={}, notes=())
    assert "<td>Not applied: slope 2.<td>2" in (tmp_path / "quality.html").read_text()


def test_each_volume_of_a_leak_is_a_row_and_stands_on_the_page(tmp_path: Path) -> None:
    issues = leak_issues([Leakage(what="patient", volumes={"train": "a", "test": "b"}), Leakage(what="patient", volumes={"train": "c"})])
    assert [(issue.volume, issue.status) for issue in issues] == [("b", "leak"), ("a", "leak"), ("c", "leak")]
    assert issues[0].message == "One patient is in two splits: b in test, a in train."
    write_quality(tmp_path, [], issues, outcomes={}, notes=())
    assert "<h2>In two splits</h2>" in (tmp_path / "quality.html").read_text()


def test_ages_sexes_and_scanners_count_scans_and_the_rest_counts_volumes(tmp_path: Path) -> None:
    facts = Demographics(age=61, sex="F", scanner="<GE>")
    entries = [replace(_entry("a", "p", 1), facts=facts), replace(_entry("b", "p", 1), facts=facts), _entry("c", "q", 1)]
    made = {"kernel": "Br40f", "slices": 240, "spacing": (0.7, 0.7, 1.25)}
    outcomes = {name: VolumeOutcome(volume=name, stamp="", **made) for name in ("a", "b")}  # type: ignore[arg-type]
    outcomes["c"] = VolumeOutcome(volume="c", stamp="", slices=60, spacing=(0.7, 0.7, 3.0))
    write_quality(tmp_path, entries, [], outcomes=outcomes, notes=())
    page = (tmp_path / "quality.html").read_text()

    def bars(title: str) -> list[tuple[str, str]]:
        chart = re.search(rf"<h2>{re.escape(title)}</h2><table>(.*?)</table>", page)
        assert chart is not None, title
        return re.findall(r"<tr><td>(.*?)<td class=bars>.*?<td>([\d,]+)", chart[1])

    assert bars("Ages in years, scans") == [("60 to 70", "1"), ("unknown", "1")]
    assert bars("Sexes, scans") == [("F", "1"), ("unknown", "1")]
    assert bars("Scanners, scans") == [("&lt;GE&gt;", "1"), ("unknown", "1")]
    assert bars("Kernels, volumes") == [("Br40f", "2"), ("unknown", "1")]
    assert bars("From slice to slice in mm, volumes") == [
        ("1.0 to 1.5", "2"),
        ("1.5 to 2.0", "0"),
        ("2.0 to 2.5", "0"),
        ("2.5 to 3.0", "0"),
        ("3.0 to 3.5", "1"),
    ]
    assert bars("Slices, volumes (540 slices in all)") == [("0 to 100", "1"), ("100 to 200", "0"), ("200 to 300", "2")]
