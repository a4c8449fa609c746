"""What holds for every index, in a folder and on a server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thoracle.cohort.demographics import Demographics
from thoracle.cohort.reports import Report
from thoracle.errors import IndexMismatch, IndexMissing
from thoracle.search.backend import IndexBackend
from thoracle.search.keywords import parse
from thoracle.search.open_index import open_index, open_index_for_writing
from thoracle.search.record import Filters, hash_report

_ALL = Filters()


@pytest.fixture(params=["folder", "server"])
def place(request: pytest.FixtureRequest, tmp_path: Path, settings: dict[str, Any], make) -> str:
    """Where an index of 40 records is."""
    if request.param == "server":
        pytest.importorskip("qdrant_client")
    place = str(tmp_path / "index") if request.param == "folder" else f"qdrant:{tmp_path}/server/cases"
    with open_index_for_writing(place, settings) as index:
        index.add([make(number) for number in range(40)])
    return place


@pytest.fixture
def index(place: str) -> Iterator[IndexBackend]:
    with open_index(place) as index:
        yield index


@contextmanager
def _changed(index: IndexBackend, place: str) -> Iterator[IndexBackend]:
    """The client's local mode lets one process hold a folder once."""
    if place.startswith("qdrant:"):
        yield index
    else:
        with open_index_for_writing(place) as begun:
            yield begun


def test_records_come_back_and_are_found_by_latent_words_and_names(index: IndexBackend, make) -> None:
    one = make(7)
    (number,) = index.ids_where(volume="v7")
    assert index.records([number])[number] == one.record
    assert np.allclose(index.latents([number])[0], one.latent_L, atol=1e-6)
    assert index.thumbnails([number]) == {number: one.thumbnail}
    best, score = index.vector_search(one.latent_L, k=3, filters=_ALL)[0]
    assert (best, round(score, 5)) == (number, 1.0)
    found = {index.records([n])[n].volume for n, _ in index.keyword_search(parse("nodule NOT effusion"), k=99, filters=_ALL)}
    assert found == {f"v{n}" for n in range(40) if n % 5 == 2}
    assert index.ids_where(patient="p3") == sorted(index.ids_where(accession="a6") + index.ids_where(scan="s7"))
    assert len(index) == 40


def test_filters_hold_for_latents_as_for_words(index: IndexBackend, make) -> None:
    for filters, holds in (
        (Filters(present=("Lung nodule",)), lambda r: "Lung nodule" in r.findings),
        (Filters(absent=("Lung nodule",)), lambda r: "Lung nodule" not in r.findings),
        (Filters(age_from=30, age_to=40), lambda r: 30 <= r.facts.age <= 40),
        (Filters(sex="F", scanner="ge"), lambda r: r.facts.sex == "F" and "GE" in r.facts.scanner),
        (Filters(scanner="siemens force"), lambda r: "Siemens" in r.facts.scanner),
        (Filters(date_from="2012-03-04", date_to="2015"), lambda r: "2012" <= r.facts.date[:4] <= "2015"),
        (Filters(date_to="2012-02"), lambda r: r.facts.date[:4] < "2012"),
        (Filters(split="valid"), lambda r: r.split == "valid"),
        (Filters(sex="O"), lambda r: False),
    ):
        expected = {n for n in range(40) if holds(make(n).record)}
        records = index.records([n for m in range(40) for n in index.ids_where(volume=f"v{m}")])
        assert {records[n].volume for n, _ in index.vector_search(make(0).latent_L, k=99, filters=filters)} == {f"v{n}" for n in expected}
        words = {records[n].volume for n, _ in index.keyword_search(parse("effusion"), k=99, filters=filters)}
        assert words == {f"v{n}" for n in expected if "ffusion" in f"{make(n).record.report}"}


def test_a_date_of_which_less_is_told_holds_if_it_may(index: IndexBackend, place: str, make) -> None:
    with _changed(index, place) as begun:
        begun.add([make(90, facts=Demographics(date="2031")), make(91, facts=Demographics())])
    for filters, there in (
        (Filters(date_from="2031-05"), True),
        (Filters(date_to="2031-05", date_from="2030"), True),
        (Filters(date_from="2032"), False),
    ):
        found = index.vector_search(make(90).latent_L, k=99, filters=filters)
        assert (index.ids_where(volume="v90")[0] in [n for n, _ in found], index.ids_where(volume="v91")[0] in [n for n, _ in found]) == (
            there,
            False,
        )


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("effusion NOT pericardial", {4}),
        ("effusions", {0, 1, 4}),
        ('"upper lobe"', {2, 1}),
        ('"lobe upper"', set()),
        ("emphys*", {3, 4}),
        ("effusio*", {0, 1, 4}),
        ("effusion NOT enlarge*", {0, 1, 4}),
        ("emphys* nodul*", set()),
        ("heart OR emphyse*", {2, 3, 4}),
        ("(heart OR emphysema) NOT nodule", {3, 4}),
        ("effusion nodule", {1}),
    ],
)
def test_keyword_queries_mean_the_same_everywhere(index: IndexBackend, query: str, words: set[int]) -> None:
    found = index.keyword_search(parse(query), k=99, filters=_ALL)
    assert {index.records([n])[n].volume for n, _ in found} == {f"v{n}" for n in range(40) if n % 5 in words}
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)


def test_rare_words_and_more_of_them_come_first(index: IndexBackend, place: str, make) -> None:
    reports = {"v50": "Effusion. Aortic dissection.", "v51": "Dissection, dissection of the aorta."}
    with _changed(index, place) as begun:
        begun.add([make(int(v[1:]), report=Report(findings=text)) for v, text in reports.items()])
    first = index.keyword_search(parse("effusion OR dissection"), k=2, filters=_ALL)
    assert {index.records([n])[n].volume for n, _ in first} == {"v50", "v51"}


def test_what_is_deleted_is_not_found_and_what_is_changed_is_found_once(index: IndexBackend, place: str, make) -> None:
    with _changed(index, place) as begun:
        begun.delete(begun.ids_where(patient="p3"))
        begun.add([make(8, words="Zebrafish.")])
    assert index.ids_where(patient="p3") == []
    assert len(index) == 38
    found = index.vector_search(make(6).latent_L, k=99, filters=_ALL)
    assert {index.records([n])[n].volume for n, _ in found} == {f"v{n}" for n in range(40) if n // 2 != 3}
    assert [n for n, _ in index.keyword_search(parse("zebrafish"), k=9, filters=_ALL)] == index.ids_where(volume="v8")


def test_endings_of_pseudonyms_are_found(index: IndexBackend, place: str, make) -> None:
    with _changed(index, place) as begun:
        begun.add([make(60, scan="p_0123abcd", volume="p_0123abcd_89abcdef")])
    assert index.ids_ending(scan="_0123abcd") == index.ids_ending(volume="_89abcdef") == index.ids_where(scan="p_0123abcd") != []
    assert index.ids_ending(scan="_00000000") == index.ids_where(scan="*_0123abcd") == []


def test_a_report_is_found_by_the_hash_of_its_words(index: IndexBackend, make) -> None:
    report = make(7).record.report
    same = [n for n in range(40) if make(n).record.report == report]
    found = index.records(index.ids_where(report_sha256=hash_report(f"{report.findings}\n\n {report.impression}\n")))
    assert {record.volume for record in found.values()} == {f"v{n}" for n in same}


def test_all_that_matches_is_listed_without_its_report(index: IndexBackend, make) -> None:
    for query, filters, expected in (
        (None, _ALL, set(range(40))),
        (None, Filters(split="valid"), {n for n in range(40) if n % 3 == 0}),
        ("effusio* NOT nodule", Filters(sex="M"), {n for n in range(40) if n % 2 and n % 5 in (0, 3, 4) and n % 5 != 3}),
        ("zebrafish", _ALL, set()),
    ):
        records = index.matching_records(None if query is None else parse(query), filters=filters)
        assert {record.volume for record in records} == {f"v{n}" for n in expected}
        assert all(record == replace(make(int(record.volume[1:])).record, report=Report()) for record in records)


def test_what_words_exclude_is_not_near_either(index: IndexBackend, make) -> None:
    near = index.vector_search(make(7).latent_L, k=99, filters=Filters(sex="M"), without=parse("effusion OR emphys*"))
    passing = [n for n in range(40) if n % 2 and not {n % 5, (n + 1) % 5} & {0, 1, 4}]
    assert {index.records([n])[n].volume for n, _ in near} == {f"v{n}" for n in passing}
    assert len(index.vector_search(make(7).latent_L, k=99, filters=_ALL, without=parse("zebrafish"))) == 40


def test_another_model_and_no_index_are_refused(place: str, settings: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(IndexMismatch, match="another model"), open_index_for_writing(place, {**settings, "model": "x"}):
        pass
    nowhere = f"qdrant:{tmp_path}/nowhere/cases" if place.startswith("qdrant:") else str(tmp_path / "nowhere")
    with pytest.raises(IndexMissing, match="thoracle index"), open_index(nowhere):
        pass


def test_probabilities_come_back_and_filter(place: str, settings: dict[str, Any], make) -> None:
    scores = {number: (("Mass", number / 40), ('The "big" one', 0.5)) for number in range(0, 40, 2)}
    with open_index_for_writing(place, settings) as index:
        index.add([make(number, scores=scores[number]) for number in scores])
    with open_index(place) as index:
        (number,) = index.ids_where(volume="v30")
        assert index.records([number])[number].scores == (("Mass", 0.75), ('The "big" one', 0.5))
        passing = {record.volume for record in index.matching_records(None, filters=Filters(scored=(("Mass", 0.75),)))}
        assert passing == {f"v{number}" for number in range(30, 40, 2)}
        both = Filters(scored=(("Mass", 0.9), ('The "big" one', 0.5)))
        latent = make(1).latent_L
        assert {index.records([n])[n].volume for n, _ in index.vector_search(latent, k=40, filters=both)} == {"v36", "v38"}
        assert not index.matching_records(None, filters=Filters(scored=(("Nobody asked", 0.0),)))
