"""quality.csv and quality.html: each volume that was refused and why, each that is odd, each that is absent.

Neither holds a path, nor any name but those in the manifest.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final, Literal

from thoracle.cohort.journal import VolumeOutcome
from thoracle.cohort.manifest import CohortEntry
from thoracle.cohort.sources import SPLITS
from thoracle.cohort.tables import VOLUME_NAME
from thoracle.files.atomic import write_atomic
from thoracle.types import ABNORMALITIES, RESEARCH_USE

_MOST_ROWS: Final = 1000  # of one table on the page; the CSV has all
_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse}td,th{text-align:left;padding:.2em 1em .2em 0;vertical-align:top;border-bottom:1px solid #ddd}"
)


@dataclass(frozen=True, kw_only=True)
class QualityIssue:
    """Hold one row of the quality report; `error` is the class of the error that refused the volume."""

    volume: str
    status: Literal["refused", "warned", "absent"]
    error: str = ""
    message: str = ""


def findings_of(outcomes: Iterable[VolumeOutcome], *, absent: Iterable[str]) -> list[QualityIssue]:
    """Collect issues of volumes that were tried, and of names in tables that have no file."""
    findings = []
    for outcome in outcomes:
        if outcome.error:
            findings.append(QualityIssue(volume=outcome.volume, status="refused", error=outcome.error, message=outcome.message))
        findings += [QualityIssue(volume=outcome.volume, status="warned", message=warning) for warning in outcome.warnings]
    return findings + [QualityIssue(volume=name, status="absent", message="In a table, and not in the folder.") for name in absent]


def write_quality(folder: Path, entries: Sequence[CohortEntry], findings: Sequence[QualityIssue], *, notes: Sequence[str]) -> None:
    """Write quality.csv and quality.html, each whole or not at all."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((VOLUME_NAME, "status", "error", "message"))
    writer.writerows((issue.volume, issue.status, issue.error, issue.message) for issue in findings)
    write_atomic(folder / "quality.csv", text.getvalue().encode("utf-8", "replace"))
    write_atomic(folder / "quality.html", _page(entries, findings, notes).encode("utf-8", "replace"))


def _page(entries: Sequence[CohortEntry], findings: Sequence[QualityIssue], notes: Sequence[str]) -> str:
    by_status = {status: [issue for issue in findings if issue.status == status] for status in ("refused", "warned", "absent")}
    refused, warned, absent = by_status.values()
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>Quality of a cohort</title>",
        f"<style>{_STYLE}</style><h1>Quality of a cohort</h1><p>{escape(RESEARCH_USE)}</p>",
        "".join(f"<p>{escape(note)}</p>" for note in notes),
        _table("What is in it", ("split", "patients", "scans", "volumes", "with a report"), [_counts(entries, split) for split in SPLITS]),
        _table("Refused, by reason", ("error", "volumes"), Counter(issue.error for issue in refused).most_common()),
        _table("Refused", (VOLUME_NAME, "error", "why"), [(issue.volume, issue.error, issue.message) for issue in refused]),
        _table("Odd", ("warning", "volumes"), Counter(issue.message for issue in warned).most_common()),
        _table(
            "Abnormalities, of the labelled scans", ("abnormality", *SPLITS), [_prevalence(entries, n) for n in range(len(ABNORMALITIES))]
        ),
        _table(f"Absent: in a table, and not in the folder ({len(absent):,})", (VOLUME_NAME,), [(issue.volume,) for issue in absent]),
    ]
    return "\n".join(parts) + "</html>\n"


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
