"""Read demographics beside the report from tables and headers: age, sex, date, scanner."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

#: DICOM's age string counts years, months, weeks or days.
_UNITS: Final = {"Y": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}
_AGE: Final = re.compile(r"(\d{1,3})(?:\.\d+)?([YMWD]?)")
_DATE: Final = re.compile(r"(\d{4})-?(\d{2})-?(\d{2})(?:[ T.].*)?|(\d{4})(?:-(\d{2}))?")
_OLDEST: Final = 90  # as HIPAA's safe harbour (45 CFR 164.514) puts all who are older together


@dataclass(frozen=True, kw_only=True)
class Demographics:
    """Hold a study's demographics; None or "" where no table says.

    Attributes:
        age: whole years.
        sex: "F", "M" or "O", as DICOM has it.
        date: of the study, "2019-03-04", or as much of it as is told: "2019-03", "2019".
        scanner: maker and model.
    """

    age: int | None = None
    sex: str = ""
    date: str = ""
    scanner: str = ""


NO_FACTS: Final = Demographics()


def facts_of(row: Mapping[str, str]) -> Demographics:
    """Read demographics from DICOM keywords in a table's row or a header; unreadable values are left out."""
    sex = row.get("PatientSex", "").strip().upper()[:1]
    makers = (row.get("Manufacturer", "").strip(), row.get("ManufacturerModelName", "").strip())
    return Demographics(
        age=_age(row.get("PatientAge", "")),
        sex=sex if sex in ("F", "M", "O") else "",
        date=_date(row.get("StudyDate", "")),
        scanner=" ".join(filter(None, makers)),
    )


def coarsened(facts: Demographics) -> Demographics:
    """Coarsen what tells one patient from others: of the date only the year stays, and no age above 90."""
    return replace(facts, date=facts.date[:4], age=None if facts.age is None else min(facts.age, _OLDEST))


def _age(text: str) -> int | None:
    """From "045Y", "45" or "18M"; "000Y" is what anonymisers write."""
    match = _AGE.fullmatch(text.strip().upper())
    if match is None or (int(match[1]) == 0 and match[2] != "D"):
        return None
    return int(int(match[1]) / _UNITS[match[2] or "Y"])


def _date(text: str) -> str:
    match = _DATE.fullmatch(text.strip().removesuffix(".0"))
    return "-".join(filter(None, match.groups())) if match else ""
