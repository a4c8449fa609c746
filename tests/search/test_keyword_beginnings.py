"""Beginnings over the vocabulary of real reports: what a plain scan of the text finds, in a folder and on a server."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from thoracle.cohort.reports import Report
from thoracle.search.keywords import parse
from thoracle.search.open_index import open_index_for_writing
from thoracle.search.record import Filters, IndexedVolume, Record

_WORD = re.compile(r"[^\W_]+")


def _beginnings(texts: list[str]) -> dict[str, set[str]]:
    """The reports of each beginning of four letters or more."""
    reports: dict[str, set[str]] = defaultdict(set)
    for number, text in enumerate(texts):
        for word in set(_WORD.findall(text.lower())):
            for end in range(4, len(word) + 1):
                reports[word[:end]].add(f"v{number}")
    return {beginning: volumes for beginning, volumes in reports.items() if beginning.isascii()}


@pytest.mark.parametrize(
    ("location", "reports", "step"), [("{}/index", 800, 1), ("qdrant:{}/server/cases", 200, 97)], ids=["folder", "server"]
)
def test_a_beginning_finds_every_word_that_begins_so(tmp_path: Path, data_dir: Path, location: str, reports: int, step: int) -> None:
    if location.startswith("qdrant"):
        pytest.importorskip("qdrant_client")
    with (data_dir / "reports" / "ctclip_train.csv").open(newline="", encoding="utf-8") as file:
        texts = [row["report_text"] for row in csv.DictReader(file)][:reports]
    expected = _beginnings(texts)
    wrong = []
    with open_index_for_writing(location.format(tmp_path), {"model": "m", "dim_latent": 2, "key": None}) as index:
        names = [f"v{number}" for number in range(len(texts))]
        records = [
            Record(volume=name, scan=name, accession=name, patient=name, report=Report(findings=text))
            for name, text in zip(names, texts, strict=True)
        ]
        index.add([IndexedVolume(record=record, latent_L=np.array([1, 0], np.float32)) for record in records])
        volumes = {number: record.volume for number, record in index.records(index.ids()).items()}
        for beginning in sorted(expected)[::step]:
            found = {volumes[number] for number, _ in index.keyword_search(parse(f"{beginning}*"), k=reports, filters=Filters())}
            if found != expected[beginning]:
                wrong.append((beginning, len(found), len(expected[beginning])))
    assert wrong == []
    assert len(expected) > 3000
    for beginning in ("effusion", "consolidation", "thickening", "infiltra", "emphysematous", "calcifi", "pneumoni"):
        assert beginning in expected
