"""The page of hits: it stands alone, names nobody, and what reports say in marks of HTML stays text."""

from __future__ import annotations

import re
from base64 import b64decode

import pytest

from thoracle.cohort.reports import Report
from thoracle.search.answers.contact_sheet import contact_sheet
from thoracle.search.engine import Engine, Hit, Query
from thoracle.search.local.index import LocalIndex
from thoracle.search.record import Filters, Record
from thoracle.types import ABNORMALITIES, RESEARCH_USE


def _hit(number: int, *, score: float = 0.5, sentence: str = "Clear.", labels: tuple[int, ...] = ()) -> Hit:
    record = Record(
        volume=f"volume{number}",
        scan=f"scan{number}",
        accession=f"accession{number}",
        patient=f"patient{number}",
        report=Report(findings=sentence),
        labels=tuple(int(label in labels) for label in range(18)),
    )
    return Hit(number=number, record=record, score=score, ranks={"text": 1}, sentence=sentence)


def test_the_contact_sheet_stands_alone_and_names_nobody(index: LocalIndex) -> None:
    hits = Engine(index).search(Query(keyword="nodule", filters=Filters(sex="F"))).hits
    page = contact_sheet(hits, index.thumbnails([hit.number for hit in hits]), query_text="nodule <b>")
    assert page.count("data:image/png;base64,") == len(hits) > 2
    assert "nodule &lt;b&gt;" in page
    assert RESEARCH_USE in page
    assert "http" not in page
    names = {name for hit in hits for name in (hit.record.accession, hit.record.volume, hit.record.patient, hit.record.scan)}
    assert [name for name in names if f">{name}<" in page or f" {name} " in page] == []
    page = contact_sheet([_hit(7)], {}, query_text="")
    assert not re.search("(volume|scan|accession|patient)7", page)


def test_hits_are_numbered_in_their_order_each_with_its_own_picture() -> None:
    hits = [_hit(30, score=0.12345), _hit(4, score=12.0, sentence="Second."), _hit(9)]
    page = contact_sheet(hits, {4: b"picture of 4", 30: b"picture of 30", 5: b"nobody's"}, query_text="q")
    assert re.findall(r"<h2>(.*?)</h2>", page) == ["1. 0.1235", "2. 12.0000", "3. 0.5000"]
    articles = page.split("<article>")[1:]
    pictures = [re.search(r'alt="Slices of hit (\d)" src="data:image/png;base64,([^"]*)"', article) for article in articles]
    assert [(match[1], b64decode(match[2])) if match else None for match in pictures] == [
        ("1", b"picture of 30"),
        ("2", b"picture of 4"),
        None,
    ]
    assert ["no slices kept" in article for article in articles] == [False, False, True]


def test_labels_are_listed_in_the_order_of_the_cohort_or_said_to_be_none() -> None:
    page = contact_sheet([_hit(1, labels=(9, 2)), _hit(2)], {}, query_text="q")
    assert re.findall(r'<p class="labels">(.*?)</p>', page) == [f"{ABNORMALITIES[2]}, {ABNORMALITIES[9]}", "no label"]


@pytest.mark.parametrize("marks", ["<script>alert(1)</script>", '"><img src=x onerror=y>', "</main>&amp;'"])
def test_marks_in_a_query_or_a_report_stay_text(marks: str) -> None:
    page = contact_sheet([_hit(1, sentence=f"Seen {marks}")], {}, query_text=marks)
    plain = contact_sheet([_hit(1, sentence="Seen ")], {}, query_text="")
    assert re.findall("<[a-z!/][^>]*>", page) == re.findall("<[a-z!/][^>]*>", plain)
    assert page.count("&lt;") == 2 * marks.count("<")


def test_no_control_character_reaches_a_page() -> None:
    page = contact_sheet([_hit(1, sentence="Seen\x1b[2J\u202e")], {}, query_text="a\x07")
    assert not set("\x1b\u202e\x07") & set(page)
