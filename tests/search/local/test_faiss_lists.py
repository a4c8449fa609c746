from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thoracle.errors import ExtraMissing
from thoracle.search.local import faiss_lists as approximate
from thoracle.search.local.index import LocalIndex, open_for_writing
from thoracle.search.local.vectors import Vectors, nearest
from thoracle.search.record import Filters

pytest.importorskip("faiss")
_ALL = Filters()
_STATE = "0123456789abcdef"


def _latents(count: int, *, seed: int) -> np.ndarray:
    """Of unit norm, about 50 centres that do not change with the seed."""
    centres = np.random.default_rng(99).standard_normal((50, 24), dtype=np.float32)
    draw = np.random.default_rng(seed)
    made = centres[draw.integers(50, size=count)] + draw.standard_normal((count, 24), dtype=np.float32)
    return np.ascontiguousarray(made / np.linalg.norm(made, axis=1, keepdims=True))


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    """Ids are no rows: a search that mixes them up finds nothing."""
    return Vectors(state=_STATE, ids=np.arange(5000, dtype=np.int64) * 3 + 7, array=_latents(5000, seed=0), token="f" * 16)


@pytest.fixture(scope="module")
def lists(vectors: Vectors) -> approximate.FaissIvf:
    return approximate.build(vectors, lists=64)


def test_of_the_ten_nearest_to_unseen_queries_98_percent_are_found_without_probing_all(vectors: Vectors, lists: Any) -> None:
    queries, hits = _latents(300, seed=1), 0
    for query, (exact, _) in zip(queries, nearest(vectors.array, queries, k=10), strict=True):
        rows, products = lists.nearest(query, k=10)
        hits += len(set(exact.tolist()) & set(rows.tolist()))
        assert products == pytest.approx(vectors.array[rows] @ query, abs=1e-6), "products are not those of half precision"
        assert (np.diff(products) <= 0).all()
    assert hits / 3000 >= 0.98
    assert lists.info.probes < lists.info.lists
    assert lists.info.recall >= 0.99


def test_with_every_list_probed_the_answer_is_the_exact_one(vectors: Vectors) -> None:
    whole = Vectors(state=_STATE, ids=vectors.ids[:200], array=vectors.array[:200])
    lists = approximate.build(whole, lists=1)
    for query, (rows, _) in zip(vectors.array[200:230], nearest(whole.array, vectors.array[200:230], k=200), strict=True):
        for k in (1, 7, 200):
            assert lists.nearest(query, k=k)[0].tolist() == rows[:k].tolist()
    assert lists.info.recall == 1


def test_lists_are_read_again_and_not_where_they_are_damaged_or_of_another_state(vectors: Vectors, lists: Any, tmp_path: Path) -> None:
    assert approximate.read(tmp_path, vectors) is None
    approximate.write(tmp_path, lists)
    again = approximate.read(tmp_path, vectors)
    assert again is not None
    assert approximate.read(tmp_path, vectors, before=again)._lists is again._lists  # type: ignore[union-attr]
    assert again.info.recall == lists.info.recall
    assert again.nearest(vectors.array[3], k=5)[0].tolist() == lists.nearest(vectors.array[3], k=5)[0].tolist()
    assert approximate.read(tmp_path, Vectors(state=_STATE, ids=vectors.ids, array=vectors.array, token="e" * 16)) is None
    path = tmp_path / approximate.LISTS
    content = path.read_bytes()
    for other in (content[:-1], bytes([content[0] ^ 1]) + content[1:], b""):
        path.write_bytes(other)
        assert approximate.read(tmp_path, vectors) is None


def test_an_index_goes_without_its_lists_where_they_are_behind_filtered_or_not_wanted(index: LocalIndex, make) -> None:
    query = make(5).latent_L
    expected = index.vector_search(query, k=40, filters=_ALL)
    with open_for_writing(index.folder, lists=True):
        pass
    reader = LocalIndex(index.folder)
    assert reader.recall is not None
    assert reader.recall >= 0.99
    assert reader.vector_search(query, k=40, filters=_ALL, exact=True) == expected
    women = reader.vector_search(query, k=40, filters=Filters(sex="F"))
    assert [n for n, _ in women] == [n for n, _ in expected if reader.records([n])[n].facts.sex == "F"]
    with open_for_writing(index.folder) as begun:
        begun.add([make(99)])
        assert reader.recall is not None
        assert reader.vector_search(make(99).latent_L, k=1, filters=_ALL)[0][0] == begun.ids_where(volume="v99")[0], "it is in no list"
    with open_for_writing(index.folder, lists=False):
        pass
    assert LocalIndex(index.folder).recall is None


def test_without_faiss_search_is_exact_and_lists_are_refused(index: LocalIndex, make, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_for_writing(index.folder, lists=True):
        pass
    expected = LocalIndex(index.folder).vector_search(make(5).latent_L, k=5, filters=_ALL, exact=True)
    monkeypatch.setitem(sys.modules, "faiss", None)
    reader = LocalIndex(index.folder)
    assert reader.recall is None
    assert reader.vector_search(make(5).latent_L, k=5, filters=_ALL) == expected
    with pytest.raises(ExtraMissing, match="needs FAISS"), open_for_writing(index.folder, lists=True) as begun:
        begun.add([make(98)])


def test_as_many_are_found_as_are_asked_for_also_where_the_probed_lists_hold_fewer(index: LocalIndex, make) -> None:
    query = make(5).latent_L
    with open_for_writing(index.folder, lists=True):
        pass
    reader = LocalIndex(index.folder)
    lists = reader.vectors() and reader._approximate
    assert lists is not None
    lists._lists.nprobe = 1
    assert len(lists.nearest(query, k=30)[0]) < 30
    found = reader.vector_search(query, k=30, filters=_ALL)
    assert found == reader.vector_search(query, k=30, filters=_ALL, exact=True)
    assert len(found) == 30


def _add(index: LocalIndex, make, numbers: range) -> None:
    with open_for_writing(index.folder) as begun:
        begun.add([make(number) for number in numbers])


def test_adding_one_writes_no_list_anew_and_clustering_waits_until_the_index_has_doubled(
    index: LocalIndex, make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_for_writing(index.folder, lists=True):
        pass
    clustered: list[int] = []
    build = approximate.build
    monkeypatch.setattr(approximate, "build", lambda vectors, **options: clustered.append(len(vectors.ids)) or build(vectors, **options))
    path = index.folder / approximate.LISTS
    before = path.read_bytes()
    for numbers, inside, unchanged in ((range(40, 42), 40, True), (range(42, 43), 43, False), (range(43, 60), 60, False)):
        _add(index, make, numbers)
        info = approximate.read_info(index.folder)
        assert info is not None
        assert (info.last_id, info.clustered, path.read_bytes() == before) == (inside, 40, unchanged)
        reader = LocalIndex(index.folder)
        for number in (3, numbers[-1]):
            assert reader.vector_search(make(number).latent_L, k=1, filters=_ALL)[0][0] == reader.ids_where(volume=f"v{number}")[0]
    assert clustered == []
    _add(index, make, range(60, 80))
    assert clustered == [80]


def test_lists_lose_who_is_deleted_without_clustering(index: LocalIndex, make, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_for_writing(index.folder, lists=True):
        pass
    monkeypatch.setattr(approximate, "build", lambda *_, **__: pytest.fail("clustered"))
    half = make(7).latent_L.astype("<f2").tobytes()
    assert half in (index.folder / approximate.LISTS).read_bytes()
    with open_for_writing(index.folder) as begun:
        begun.delete(begun.ids_where(volume="v7"))
    assert half not in (index.folder / approximate.LISTS).read_bytes()
    reader = LocalIndex(index.folder)
    assert reader.recall is not None
    assert len(reader.vector_search(make(7).latent_L, k=40, filters=_ALL)) == 39


def test_probes_are_chosen_for_texts_too_and_are_no_fewer_without_a_model(index: LocalIndex, make) -> None:
    draw = np.random.default_rng(3)
    texts = draw.standard_normal((30, 8), dtype=np.float32)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    asked: list[Sequence[str]] = []

    def encode(reports: Sequence[str]) -> list[np.ndarray]:
        asked.append(reports)
        return [texts[:20], texts[20:]]

    with open_for_writing(index.folder, lists=True):
        pass
    before = approximate.read_info(index.folder)
    assert before is not None
    assert (before.text_recall, "not measured for texts" in before.sentence()) == (None, True)
    for _ in range(2):
        with open_for_writing(index.folder, texts=encode):
            pass
    assert [len(reports) for reports in asked] == [40], "once, as nothing has changed"
    assert "Emphysema in both lungs." in asked[0][4]
    info = approximate.read_info(index.folder)
    assert info is not None
    assert info.text_recall is not None
    assert min(info.recall, info.text_recall) >= 0.99
    reader, hits = LocalIndex(index.folder), 0
    for text in texts:
        exact = {n for n, _ in reader.vector_search(text, k=10, filters=_ALL, exact=True)}
        hits += len(exact & {n for n, _ in reader.vector_search(text, k=10, filters=_ALL)})
    assert hits / 300 >= 0.99
    with open_for_writing(index.folder) as begun:
        begun.add([make(number) for number in range(100, 110)])
    after = approximate.read_info(index.folder)
    assert after is not None
    assert (after.last_id, after.text_recall, after.probes >= info.probes) == (50, info.text_recall, True)


def test_texts_that_lie_elsewhere_need_more_probes_than_volumes(vectors: Vectors) -> None:
    texts = np.random.default_rng(5).standard_normal((40, 24), dtype=np.float32)  # no centre is near them
    alone, both = approximate.build(vectors, lists=64), approximate.build(vectors, lists=64, texts=[vectors.array[:9], texts])
    assert alone.info.text_recall is None
    assert both.info.probes > alone.info.probes
    assert both.info.text_recall is not None
    assert both.info.text_recall >= 0.99, "of the kind that is found less"
