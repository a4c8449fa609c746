"""An index as a collection, in the client's local mode: exact search by hand, BM25 by its formula, and what is no index."""

from __future__ import annotations

from math import log
from typing import Any

import numpy as np
import pytest

from thoracle.cohort.reports import Report
from thoracle.errors import IndexMismatch, IndexMissing, InputError, SearchError
from thoracle.search.keywords import parse
from thoracle.search.qdrant.index import QdrantIndex
from thoracle.search.record import Filters

qdrant_client = pytest.importorskip("qdrant_client")

_ALL = Filters()


@pytest.fixture
def client() -> Any:
    return qdrant_client.QdrantClient(":memory:")


@pytest.fixture
def index(client: Any, settings: dict[str, Any]) -> QdrantIndex:
    return QdrantIndex.create_or_open(client, "cases", settings)


def _volumes(index: QdrantIndex, numbers: list[int]) -> list[str]:
    records = index.records(numbers)
    return [records[number].volume for number in numbers]


def test_a_collection_keeps_its_settings_and_refuses_others(client: Any, index: QdrantIndex, settings: dict[str, Any], make) -> None:
    index.add([make(1)])
    for again in (QdrantIndex(client, "cases"), QdrantIndex.create_or_open(client, "cases", settings)):
        assert (dict(again.settings), len(again)) == ({"schema": "thoracle.index/4", **settings}, 1)
    for name, value in (("model", "x"), ("preprocess", {"spacing": [2, 1, 1]}), ("dim_latent", 9), ("key", "12345678")):
        with pytest.raises(IndexMismatch, match=f"another {name}.*Give another name") as error:
            QdrantIndex.create_or_open(client, "cases", {**settings, name: value})
        assert error.value.source == "cases"


def test_a_collection_of_another_schema_is_refused_with_the_command_that_makes_it_anew(client: Any, settings: dict[str, Any]) -> None:
    vectors = {"latent": qdrant_client.models.VectorParams(size=8, distance=qdrant_client.models.Distance.DOT)}
    client.create_collection("before", vectors_config=vectors, metadata=settings)  # as collections were made before they had a schema
    for again in (lambda: QdrantIndex(client, "before"), lambda: QdrantIndex.create_or_open(client, "before", settings)):
        with pytest.raises(IndexMismatch, match=r"of schema None.*`thoracle index COHORT --model MODEL --out URL`"):
            again()


def test_a_collection_of_something_else_is_no_index(client: Any, settings: dict[str, Any]) -> None:
    models = qdrant_client.models
    client.create_collection("others", vectors_config=models.VectorParams(size=8, distance=models.Distance.DOT))
    for name in ("others", "nowhere"):
        with pytest.raises(IndexMissing, match=r"the server has no index of this name.*thoracle index copy INDEX URL"):
            QdrantIndex(client, name)
    with pytest.raises(IndexMissing):
        QdrantIndex.create_or_open(client, "others", settings)


def test_the_nearest_are_those_of_the_largest_dot_products(index: QdrantIndex, make) -> None:
    additions = [make(number) for number in range(30)]
    index.add(additions)
    query = make(99).latent_L
    products = {addition.record.volume: float(addition.latent_L @ query) for addition in additions}
    matches = index.vector_search(query, k=7, filters=_ALL, exact=True)
    assert _volumes(index, [number for number, _ in matches]) == sorted(products, key=lambda volume: -products[volume])[:7]
    assert [score for _, score in matches] == pytest.approx(sorted(products.values(), reverse=True)[:7], abs=1e-6)
    women = index.vector_search(query, k=99, filters=Filters(sex="F"))
    assert {record.facts.sex for record in index.records([number for number, _ in women]).values()} == {"F"}
    assert len(women) == 15


def test_keywords_score_by_bm25_with_the_collections_own_document_frequencies(index: QdrantIndex, make) -> None:
    """The sum over words of log(1 + (N - n + 1/2) / (n + 1/2)) times their weights in the report; N reports, n with the word."""
    texts = ["Effusion.", "Effusion. Effusion. Small nodule.", "Nodule.", "Clear lungs."]
    index.add([make(number, report=Report(findings=text)) for number, text in enumerate(texts)])

    def weight(count: int, length: int) -> float:
        return count * 2.2 / (count + 1.2 * (0.25 + 0.75 * length / 200))

    half = log(1 + (4 - 2 + 0.5) / (2 + 0.5))  # of either word: it is in 2 of 4 reports
    matches = index.keyword_search(parse("effusion OR nodule"), k=9, filters=_ALL)
    assert _volumes(index, [number for number, _ in matches])[0] == "v1"
    expected = {"v1": half * (weight(2, 4) + weight(1, 4)), "v0": half * weight(1, 1), "v2": half * weight(1, 1)}
    scores = dict(zip(_volumes(index, [number for number, _ in matches]), [score for _, score in matches], strict=True))
    assert scores == pytest.approx(expected, rel=1e-5)


def test_what_holds_only_a_beginning_comes_last_with_no_score(index: QdrantIndex, make) -> None:
    index.add([make(number, report=Report(findings=text)) for number, text in enumerate(["Nodular.", "Nodule.", "Clear."])])
    matches = index.keyword_search(parse("nodule OR nodular*"), k=9, filters=_ALL)
    assert {number for number, _ in matches} == set(index.ids_where(volume="v0") + index.ids_where(volume="v1"))
    beginning = index.keyword_search(parse("nod*"), k=9, filters=_ALL)
    assert sorted(_volumes(index, [number for number, _ in beginning])) == ["v0", "v1"]
    assert [score for _, score in beginning] == [0.0, 0.0]
    assert len(index.keyword_search(parse("nod*"), k=1, filters=_ALL)) == 1


def test_more_than_a_page_is_read_and_written(index: QdrantIndex, make) -> None:
    index.add([make(number) for number in range(1030)])
    numbers = index.ids()
    assert len(numbers) == len(set(numbers)) == len(index) == 1030
    assert numbers == sorted(numbers)
    assert len(index.ids_where(patient="p3")) == 2


def test_a_volume_that_is_added_again_takes_its_own_place(index: QdrantIndex, make) -> None:
    index.add([make(1), make(2)])
    (number,) = index.ids_where(volume="v1")
    index.add([make(1, words="Zebrafish.")])
    assert (index.ids_where(volume="v1"), len(index)) == ([number], 2)
    assert [found for found, _ in index.keyword_search(parse("zebrafish"), k=9, filters=_ALL)] == [number]
    index.delete([number])
    assert (len(index), index.records([number]), index.ids_where(volume="v1")) == (1, {}, [])


def test_latents_that_are_none_are_refused(index: QdrantIndex, make) -> None:
    addition = make(50)
    for latent in (addition.latent_L[:-1], np.full(8, np.nan, np.float32), np.zeros(8, np.float32)):
        object.__setattr__(addition, "latent_L", latent)
        with pytest.raises(InputError, match="8 finite numbers, not all zero"):
            index.add([make(51), addition])
    assert len(index) == 0


def test_latents_and_pictures_are_told_by_id(index: QdrantIndex, make) -> None:
    bare = make(3)
    object.__setattr__(bare, "thumbnail", b"")
    index.add([make(1), make(2), bare])
    numbers = {volume: index.ids_where(volume=volume)[0] for volume in ("v1", "v2", "v3")}
    order = sorted(numbers, key=lambda volume: numbers[volume])
    expected = np.stack([make(int(volume[1:])).latent_L for volume in order])
    np.testing.assert_allclose(index.latents([numbers["v3"], numbers["v1"], numbers["v2"]]), expected, atol=1e-6)
    assert index.thumbnails(list(numbers.values())) == {numbers[f"v{n}"]: make(n).thumbnail for n in (1, 2)}
    assert index.records([5]) == {}


def test_an_error_of_the_client_is_named_with_the_collection(client: Any, index: QdrantIndex) -> None:
    away = qdrant_client.QdrantClient(url="http://127.0.0.1:1", check_compatibility=False)
    with pytest.raises(SearchError, match=r"the server does not do it .*Check its address, its key and that it runs") as error:
        QdrantIndex(away, "cases")
    assert error.value.source == "cases"
    assert client.collection_exists("cases")
    assert len(index) == 0
