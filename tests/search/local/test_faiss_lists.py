from __future__ import annotations

import sys
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
    return Vectors(state=_STATE, ids=np.arange(5000, dtype=np.int64) * 3 + 7, array=_latents(5000, seed=0))


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
    assert lists.notes.probes < lists.notes.lists
    assert lists.notes.recall >= 0.99


def test_with_every_list_probed_the_answer_is_the_exact_one(vectors: Vectors) -> None:
    whole = Vectors(state=_STATE, ids=vectors.ids[:200], array=vectors.array[:200])
    lists = approximate.build(whole, lists=1)
    for query, (rows, _) in zip(vectors.array[200:230], nearest(whole.array, vectors.array[200:230], k=200), strict=True):
        for k in (1, 7, 200):
            assert lists.nearest(query, k=k)[0].tolist() == rows[:k].tolist()
    assert lists.notes.recall == 1


def test_lists_are_read_again_and_not_where_they_are_damaged_or_of_another_state(vectors: Vectors, lists: Any, tmp_path: Path) -> None:
    assert approximate.read(tmp_path, vectors) is None
    approximate.write(tmp_path, lists)
    again = approximate.read(tmp_path, vectors)
    assert again is not None
    assert again.notes.recall == lists.notes.recall
    assert again.nearest(vectors.array[3], k=5)[0].tolist() == lists.nearest(vectors.array[3], k=5)[0].tolist()
    assert approximate.read(tmp_path, Vectors(state="f" * 16, ids=vectors.ids, array=vectors.array)) is None
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
        assert reader.recall is None
        assert reader.vector_search(make(99).latent_L, k=1, filters=_ALL)[0][0] == begun.ids_where(volume="v99")[0]
    assert LocalIndex(index.folder).recall is not None, "an index that had lists has them again"


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
