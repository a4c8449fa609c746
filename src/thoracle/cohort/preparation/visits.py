"""Number the scans of a patient in the order of time, so that the order stays where the dates do not."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from thoracle.cohort.demographics import facts_of

_FULL_DATE: Final = len("2019-03-04")
_TIME: Final = re.compile(r"(\d{2}):?(\d{2})(?::?(\d{2})(\.\d+)?)?")


@dataclass(frozen=True, kw_only=True)
class ScanTime:
    """Hold when a patient's scan was taken: a full date ("2019-03-04") and a time of day ("101500"), "" where nobody says."""

    patient: str
    scan: str
    date: str = ""
    time: str = ""

    @classmethod
    def of(cls, patient: str, scan: str, moment: tuple[str, str]) -> ScanTime:
        """Make one of a moment as `study_time` reads it; a date that is not full counts as none."""
        date, time = moment if len(moment[0]) == _FULL_DATE else ("", "")
        return cls(patient=patient, scan=scan, date=date, time=time)


def study_time(row: Mapping[str, str]) -> tuple[str, str]:
    """Read StudyDate and StudyTime from a table's row or a header: a full date, and a time of day; "" where nobody says."""
    date = facts_of(row).date
    match = _TIME.fullmatch(row.get("StudyTime", "").strip())
    time = "".join((match[1], match[2], match[3] or "00", match[4] or "")) if match else ""
    return (date, time) if len(date) == _FULL_DATE else ("", "")


def number_visits(scans: Iterable[ScanTime], *, before: Mapping[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    """Number each patient's scans from 1 in the order of time.

    Scans of one day share a number unless all of that day tell their time. A scan without a date has no number, except where all of its
    patient had numbers before: then these stay.

    Args:
        scans: when each was taken; the earliest counts where several rows name one scan.
        before: numbers of an earlier run, by patient and scan.

    Returns:
        Numbers by patient and scan.
    """
    patients: dict[str, dict[str, tuple[str, str]]] = defaultdict(dict)
    for scan in scans:
        known = [moment for moment in (patients[scan.patient].get(scan.scan), (scan.date, scan.time)) if moment and moment[0]]
        patients[scan.patient][scan.scan] = min(known, default=("", ""))
    numbers: dict[tuple[str, str], int] = {}
    for patient, moments in patients.items():
        keys = [(patient, scan) for scan in moments]
        if not all(date for date, _ in moments.values()) and all(key in before for key in keys):
            numbers |= {key: before[key] for key in keys}
        else:
            numbers |= {(patient, scan): number for scan, number in _ranked(moments).items()}
    return numbers


def _ranked(moments: Mapping[str, tuple[str, str]]) -> dict[str, int]:
    untold = {date for date, time in moments.values() if not time}
    keys = {scan: (date, "" if date in untold else time) for scan, (date, time) in moments.items() if date}
    order = {key: number for number, key in enumerate(sorted(set(keys.values())), start=1)}
    return {scan: order[key] for scan, key in keys.items()}
