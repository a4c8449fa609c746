"""Define what is sent about the index."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class SearchFilters:
    """Require all of these of each case.

    Attributes:
        labels: that it has.
        without_labels: that it does not have.
        age_min, age_max: years, both included.
        sex: of the patient.
        date_from, date_to: as 2019, 2019-03 or 2019-03-04, both included.
        scanner: part of its name.
    """

    labels: list[str] = field(default_factory=list)
    without_labels: list[str] = field(default_factory=list)
    age_min: int | None = None
    age_max: int | None = None
    sex: Literal["", "F", "M", "O"] = ""
    date_from: str = ""
    date_to: str = ""
    scanner: str = ""


@dataclass(frozen=True, kw_only=True)
class SearchQuery:
    """Ask for cases; one of `scan`, `hit`, `text`, `keyword` and `report` at least, several are fused by rank.

    Attributes:
        scan: an open scan: cases that look like it.
        hit: a case that was found: cases that look like it.
        text: what should be present, in free text.
        keyword: effusion NOT pericardial, "lung nodule" OR nodul*.
        report: cases that it would describe.
        filters: what must hold of each case.
        exclude: of what is looked for.
        top: how many cases, from 1 to 1,000.
        exact: miss none, also where the index has a faster way.
    """

    scan: str | None = None
    hit: str | None = None
    text: str = ""
    keyword: str = ""
    report: str = ""
    filters: SearchFilters = field(default_factory=SearchFilters)
    exclude: list[Literal["scan", "patient", "duplicates"]] = field(default_factory=list)
    top: int = 10
    exact: bool = False


@dataclass(frozen=True, kw_only=True)
class SearchHit:
    """Describe a case that was found.

    Attributes:
        hit: its id while the server runs.
        score: larger is better.
        labels: of its report.
        sentence: of its report, that matched.
        thumbnail: address of a picture of a few slices; None where none is kept.
        scan_available: whether it can be opened.
        sex: "F", "M", "O" or "".
        age: years.
    """

    hit: str
    score: float
    labels: list[str]
    sentence: str
    thumbnail: str | None
    scan_available: bool
    sex: str
    age: int | None


@dataclass(frozen=True, kw_only=True)
class SearchAnswer:
    """Hold hits, best first, and the seconds that they took."""

    hits: list[SearchHit]
    encoding: float
    searching: float


@dataclass(frozen=True, kw_only=True)
class IndexSize:
    """Say how many volumes the index has."""

    records: int


@dataclass(frozen=True, kw_only=True)
class IndexRequest:
    """Add an open scan to the index.

    Attributes:
        scan: an open scan.
        report: words of its report, without names.
    """

    scan: str
    report: str = ""
