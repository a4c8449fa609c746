"""Select every record that matches keywords and filters: count it, and list it for commands that work on cohorts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from thoracle.files.volume_list import COLUMNS, write_volume_list
from thoracle.search.backend import IndexBackend
from thoracle.search.keywords import parse
from thoracle.search.lookup import require_scored
from thoracle.search.record import Filters, Record
from thoracle.types import ABNORMALITIES, RESEARCH_USE

#: A change that breaks readers of the JSON takes the next number.
SCHEMA: Final = "thoracle.search.count/1"
#: What records can be counted by.
Group = Literal["label", "sex", "decade", "year"]
GROUPS: Final[tuple[Group, ...]] = ("label", "sex", "decade", "year")
_UNKNOWN: Final = "unknown"
_OLDEST: Final = 90  # pseudonyms put all who are older together


@dataclass(frozen=True, kw_only=True)
class Count:
    """Count distinct scans and patients."""

    scans: int
    patients: int


@dataclass(frozen=True, kw_only=True)
class RecordCounts:
    """Count records: volumes, and distinct scans and patients, in all and by the values of each group."""

    volumes: int
    total: Count
    groups: dict[Group, dict[str, Count]]


def select_records(index: IndexBackend, *, keyword: str, filters: Filters) -> list[Record]:
    """Return all records that match, without their reports; without keywords, all that pass the filters.

    Raises:
        InputError: keywords that ask for nothing, or as `require_scored`.
    """
    records = index.matching_records(parse(keyword) if keyword else None, filters=filters)
    if not records:
        require_scored(index, filters)
    return records


def count_records(records: Sequence[Record], *, groups: Sequence[Group] = ()) -> RecordCounts:
    """Count records, by groups too: abnormalities that are present, sex, decade of age and year of the study."""
    return RecordCounts(
        volumes=len(records),
        total=_count(records),
        groups={group: _by_value(records, _VALUES[group], order=ABNORMALITIES if group == "label" else ()) for group in groups},
    )


def counts_json(counts: RecordCounts, *, keyword: str, filters: Filters) -> dict[str, Any]:
    """Build the document of a count."""
    groups = {group: {value: asdict(count) for value, count in values.items()} for group, values in counts.groups.items()}
    query = {"keyword": keyword, "filters": asdict(filters)}
    return {"schema": SCHEMA, **query, "volumes": counts.volumes, **asdict(counts.total), "groups": groups, "notice": RESEARCH_USE}


def write_records(path: Path, records: Sequence[Record]) -> None:
    """Write a list that `--only` of other commands takes."""
    write_volume_list(path, ([getattr(record, column) for column in COLUMNS] for record in records))


def _count(records: Sequence[Record]) -> Count:
    return Count(scans=len({record.scan for record in records}), patients=len({record.patient for record in records}))


def _by_value(records: Sequence[Record], values: Callable[[Record], Sequence[str]], *, order: Sequence[str]) -> dict[str, Count]:
    """Counts by value: in the order given, or sorted with the unknown last."""
    members: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        for value in values(record):
            members[value].append(record)
    names = [name for name in order if name in members] or sorted(members, key=lambda value: (value == _UNKNOWN, value))
    return {name: _count(members[name]) for name in names}


def _decade(record: Record) -> str:
    age = record.facts.age
    if age is None:
        return _UNKNOWN
    return f"{_OLDEST}+" if age >= _OLDEST else f"{age // 10 * 10}-{age // 10 * 10 + 9}"


_VALUES: Final[dict[Group, Callable[[Record], Sequence[str]]]] = {
    "label": lambda record: record.findings,
    "sex": lambda record: [record.facts.sex or _UNKNOWN],
    "decade": lambda record: [_decade(record)],
    "year": lambda record: [record.facts.date[:4] or _UNKNOWN],
}
