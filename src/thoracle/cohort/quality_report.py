"""quality.csv and quality.html: each volume that was refused and why, each that is odd or absent, and where the others come from.

Neither holds a path, nor any name but those in the manifest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final, Literal, get_args

from thoracle.cohort.journal import VolumeOutcome
from thoracle.cohort.manifest import CohortEntry
from thoracle.cohort.preparation.charts import STYLE, bar_chart, by_frequency, histogram
from thoracle.cohort.sources import SPLITS
from thoracle.cohort.splits import Leakage
from thoracle.cohort.tables import VOLUME_NAME
from thoracle.files.atomic import write_atomic
from thoracle.files.csv_text import csv_text
from thoracle.text_safety import terminal_safe
from thoracle.types import ABNORMALITIES, RESEARCH_USE

#: What a row says of its volume: refused; warned: odd; noted: mended or not applied as it was read; kept though its source is gone; leak:
#: in another split too; contrast: what report and voxels say of contrast agent; read: where units and geometry come from; absent: in a
#: table alone.
Status = Literal["refused", "warned", "noted", "kept", "leak", "contrast", "read", "absent"]
_CONTRAST: Final = ("the report's technique tells of", "voxels enhanced", "voxels not enhanced", "no verdict of voxels")
_MOST_ROWS: Final = 1000  # of one table on the page; the CSV has all
_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse}td,th{text-align:left;padding:.2em 1em .2em 0;vertical-align:top;border-bottom:1px solid #ddd}" + STYLE
)


@dataclass(frozen=True, kw_only=True)
class QualityIssue:
    """Hold one row of the quality report; `error` is the class of the error that refused the volume."""

    volume: str
    status: Status
    error: str = ""
    message: str = ""


def findings_of(outcomes: Iterable[VolumeOutcome], *, absent: Iterable[str]) -> list[QualityIssue]:
    """Collect rows of volumes that were tried, and of names in tables that have no file."""
    findings = []
    for outcome in outcomes:
        if outcome.error:
            findings.append(QualityIssue(volume=outcome.volume, status="refused", error=outcome.error, message=outcome.message))
        findings += [QualityIssue(volume=outcome.volume, status="warned", message=warning) for warning in outcome.warnings]
        findings += [QualityIssue(volume=outcome.volume, status="noted", message=note) for note in outcome.notes]
        if outcome.origin:
            findings.append(QualityIssue(volume=outcome.volume, status="read", message=outcome.origin))
    return findings + [QualityIssue(volume=name, status="absent", message="In a table, and not in the folder.") for name in absent]


def leak_issues(leaks: Iterable[Leakage]) -> list[QualityIssue]:
    """Collect a row for each volume that stands for a leak."""
    return [
        QualityIssue(volume=volume, status="leak", error="SplitLeak", message=f"One {leak.what} is in two splits: {leak}.")
        for leak in leaks
        for _, volume in sorted(leak.volumes.items())
    ]


def write_quality(
    folder: Path,
    entries: Sequence[CohortEntry],
    findings: Sequence[QualityIssue],
    *,
    outcomes: Mapping[str, VolumeOutcome],
    notes: Sequence[str],
    contrast: Sequence[tuple[str, int, int, int]] = (),
) -> None:
    """Write quality.csv and quality.html, each whole or not at all.

    Args:
        folder: the cohort's.
        entries: volumes that are in it.
        findings: rows of quality.csv.
        outcomes: of the volumes, by name.
        notes: sentences on the whole.
        contrast: volumes by what reports say of contrast agent, and whether voxels are enhanced, are not, or give no verdict.
    """
    lines = [(VOLUME_NAME, "status", "error", "message"), *((issue.volume, issue.status, issue.error, issue.message) for issue in findings)]
    write_atomic(folder / "quality.csv", csv_text(lines).encode("utf-8", "replace"))
    write_atomic(folder / "quality.html", _page(entries, findings, outcomes, notes, contrast).encode("utf-8", "replace"))


def _page(
    entries: Sequence[CohortEntry],
    findings: Sequence[QualityIssue],
    outcomes: Mapping[str, VolumeOutcome],
    notes: Sequence[str],
    contrast: Sequence[tuple[str, int, int, int]],
) -> str:
    by_status = {status: [issue for issue in findings if issue.status == status] for status in get_args(Status)}
    refused, warned, noted, kept, leaks, _, _, absent = by_status.values()
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>Quality of a cohort</title>",
        f"<style>{_STYLE}</style><h1>Quality of a cohort</h1><p>{escape(RESEARCH_USE)}</p>",
        "".join(f"<p>{escape(note)}</p>" for note in notes),
        _table("What is in it", ("split", "patients", "scans", "volumes", "with a report"), [_counts(entries, split) for split in SPLITS]),
        _table("In two splits", (VOLUME_NAME, "why"), [(issue.volume, issue.message) for issue in leaks]) if leaks else "",
        _table("Refused, by reason", ("error", "volumes"), Counter(issue.error for issue in refused).most_common()),
        _table("Refused", (VOLUME_NAME, "error", "why"), [(issue.volume, issue.error, issue.message) for issue in refused]),
        _table("Odd", ("warning", "volumes"), Counter(issue.message for issue in warned).most_common()),
        _table("Mended or not applied as it was read", ("note", "volumes"), Counter(issue.message for issue in noted).most_common()),
        _table("Contrast agent, volumes", _CONTRAST, contrast),
        *_charts(entries, outcomes),
        _table(
            "Abnormalities, of the labelled scans", ("abnormality", *SPLITS), [_prevalence(entries, n) for n in range(len(ABNORMALITIES))]
        ),
        _table(f"Kept, though not in the archive now ({len(kept):,})", (VOLUME_NAME,), [(issue.volume,) for issue in kept]),
        _table(f"Absent: in a table, and not in the folder ({len(absent):,})", (VOLUME_NAME,), [(issue.volume,) for issue in absent]),
    ]
    return terminal_safe("\n".join(parts) + "</html>\n")


def _charts(entries: Sequence[CohortEntry], outcomes: Mapping[str, VolumeOutcome]) -> list[str]:
    """Ages, sexes and scanners count scans; kernels, spacings and slices count volumes."""
    facts = list({(entry.patient, entry.scan): entry.facts for entry in entries}.values())
    reads = [outcome for entry in entries if (outcome := outcomes.get(entry.volume)) is not None]
    total = sum(outcome.slices for outcome in reads)
    return [
        bar_chart("Ages in years, scans", histogram((fact.age for fact in facts), step=10)),
        bar_chart("Sexes, scans", by_frequency(fact.sex for fact in facts)),
        bar_chart("Scanners, scans", by_frequency(fact.scanner for fact in facts)),
        bar_chart("Kernels, volumes", by_frequency(outcome.kernel for outcome in reads)),
        bar_chart("From slice to slice in mm, volumes", histogram((outcome.spacing[2] for outcome in reads), step=0.5)),
        bar_chart("From pixel to pixel in mm, volumes", histogram((outcome.spacing[0] for outcome in reads), step=0.1)),
        bar_chart(f"Slices, volumes ({total:,} slices in all)", histogram((outcome.slices for outcome in reads), step=100)),
    ]


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    if not rows:
        return f"<h2>{escape(title)}</h2><p>None.</p>"
    head = "".join(f"<th>{escape(column)}" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}" for cell in row) for row in rows[:_MOST_ROWS])
    more = f"<p>And {len(rows) - _MOST_ROWS:,} more, in quality.csv.</p>" if len(rows) > _MOST_ROWS else ""
    return f"<h2>{escape(title)}</h2><table><tr>{head}{body}</table>{more}"


def _counts(entries: Sequence[CohortEntry], split: str) -> tuple[object, ...]:
    members = [entry for entry in entries if entry.split == split]
    with_report = sum(bool(entry.report.text("both")) for entry in members)
    return split, len({entry.patient for entry in members}), len({entry.scan for entry in members}), len(members), with_report


def _prevalence(entries: Sequence[CohortEntry], number: int) -> tuple[str, ...]:
    """Scans with the abnormality, of those with a label."""
    cells = [ABNORMALITIES[number]]
    for split in SPLITS:
        scans = {entry.scan: entry.labels[number] for entry in entries if entry.split == split and entry.labels[number] is not None}
        cells.append(f"{sum(map(int, filter(None, scans.values()))):,} of {len(scans):,}" if scans else "")
    return tuple(cells)
