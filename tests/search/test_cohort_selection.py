"""Cohorts out of search: all that matches, counted by hand and listed without a limit."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from thoracle.cohort.demographics import Demographics
from thoracle.errors import InputError
from thoracle.search.cohort_selection import GROUPS, Count, count_records, counts_json, select_records, write_records
from thoracle.search.local.index import LocalIndex, open_for_writing
from thoracle.search.record import Filters
from thoracle.types import ABNORMALITIES

_ALL = Filters()


def test_records_are_counted_by_hand(make) -> None:
    facts = [
        Demographics(age=9, sex="F", date="2019-03-04"),
        Demographics(age=60, sex="F", date="2019"),
        Demographics(age=69, sex="M", date="2020-01"),
        Demographics(age=90, sex="M", date=""),
        Demographics(age=101, sex="", date="2020"),
        Demographics(),
    ]
    labels = [tuple(int(n in present) for n in range(18)) for present in ((7, 0), (0,), (), (7,), (7,), ())]
    # scan s0 has two volumes, patient p1 two scans
    names = [("s0", "p0"), ("s0", "p0"), ("s1", "p1"), ("s2", "p1"), ("s3", "p2"), ("s4", "p3")]
    records = [make(n, facts=facts[n], labels=labels[n], scan=scan, patient=patient).record for n, (scan, patient) in enumerate(names)]
    counts = count_records(records, groups=GROUPS)
    assert (counts.volumes, counts.total) == (6, Count(scans=5, patients=4))
    pairs = {group: {value: (count.scans, count.patients) for value, count in values.items()} for group, values in counts.groups.items()}
    assert pairs == {
        "label": {ABNORMALITIES[0]: (1, 1), ABNORMALITIES[7]: (3, 3)},
        "sex": {"F": (1, 1), "M": (2, 1), "unknown": (2, 2)},
        "decade": {"0-9": (1, 1), "60-69": (2, 2), "90+": (2, 2), "unknown": (1, 1)},
        "year": {"2019": (1, 1), "2020": (2, 2), "unknown": (2, 2)},
    }
    assert list(pairs["decade"]) == ["0-9", "60-69", "90+", "unknown"]
    document = counts_json(counts, keyword="effusion", filters=Filters(sex="F"))
    assert (document["scans"], document["patients"], document["volumes"], document["filters"]["sex"]) == (5, 4, 6, "F")
    assert document["groups"]["sex"]["M"] == {"scans": 2, "patients": 1}


def test_everything_that_matches_is_selected(index: LocalIndex, make) -> None:
    expected = [n for n in range(40) if n % 5 in (0, 1, 4) and n % 2 == 0]
    records = select_records(index, keyword="effusion", filters=Filters(sex="F"))
    assert [record.volume for record in records] == [f"v{n}" for n in expected]
    assert [record.report.findings for record in records] == [""] * len(expected), "reports are not read"
    assert len(select_records(index, keyword="", filters=_ALL)) == 40
    assert select_records(index, keyword="zebrafish", filters=_ALL) == []
    with pytest.raises(InputError, match="nothing in the index has a probability of 'Mass'"):
        select_records(index, keyword="", filters=Filters(scored=(("Mass", 0.5),)))
    with pytest.raises(InputError, match="no word"):
        select_records(index, keyword="_", filters=_ALL)


def test_a_list_is_longer_than_hits_can_be(index: LocalIndex, make, tmp_path: Path) -> None:
    with open_for_writing(index.folder) as begun:
        begun.add([make(number) for number in range(100, 1300)])
    records = select_records(index, keyword="effusion OR emphys* OR nodule", filters=_ALL)
    assert len(records) == 1240
    write_records(tmp_path / "list.csv", records)
    with (tmp_path / "list.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[-1] == {
        "volume": "v1299",
        "scan": "s1299",
        "accession": "a1299",
        "patient": "p649",
        "split": "valid",
        "source_sha256": "source1299",
    }
    assert len({row["volume"] for row in rows}) == len(rows) == 1240
