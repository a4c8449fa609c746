from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thoracle.search.local import vectors as module
from thoracle.search.local.vectors import Vectors, gather, nearest, read_vectors, write_vectors

_STATE = "0123456789abcdef"


def _vectors(count: int = 5, dim: int = 3) -> Vectors:
    array = np.random.default_rng(0).standard_normal((count, dim), dtype=np.float32)
    return Vectors(state=_STATE, ids=np.arange(count, dtype=np.int64) * 7, array=array)


def test_what_is_written_is_read_again_and_gathered_again(tmp_path: Path) -> None:
    vectors = _vectors()
    write_vectors(tmp_path / "v", vectors)
    rows = iter([(int(number), latent.tobytes()) for number, latent in zip(vectors.ids, vectors.array, strict=True)])
    for again in (read_vectors(tmp_path / "v", state=_STATE), gather(_STATE, rows, count=5, dim=3)):
        assert again is not None
        assert np.array_equal(again.ids, vectors.ids)
        assert np.array_equal(again.array, vectors.array)
    assert vectors.rows(np.array([14, 0])).tolist() == [2, 0]


def test_a_file_that_is_absent_cut_changed_or_of_another_state_is_none(tmp_path: Path) -> None:
    path = tmp_path / "v"
    assert read_vectors(path, state=_STATE) is None
    write_vectors(path, _vectors())
    assert read_vectors(path, state="f" * 16) is None
    content = path.read_bytes()
    for size in range(0, len(content), 5):
        path.write_bytes(content[:size])
        assert read_vectors(path, state=_STATE) is None
    for place in (0, 9, 30, 70, len(content) - 1):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert read_vectors(path, state=_STATE) is None


@given(
    data=st.data(),
    count=st.integers(0, 40),
    k=st.integers(1, 50),
    block=st.sampled_from([1, 3, 16, 1 << 14]),
)
def test_the_nearest_are_those_of_a_full_sort_ties_in_order_of_row(data: st.DataObject, count: int, k: int, block: int) -> None:
    whole = st.integers(-2, 2)  # small whole numbers: exact products, and many ties
    array = np.array(data.draw(st.lists(st.tuples(whole, whole), min_size=count, max_size=count)), np.float32).reshape(count, 2)
    queries = np.array(data.draw(st.lists(st.tuples(whole, whole), min_size=1, max_size=3)), np.float32)
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)), bool)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", block)
        for mask in (None, keep):
            for query, (rows, products) in zip(queries, nearest(array, queries, k=k, keep=mask), strict=True):
                scores = array @ query
                allowed = [row for row in range(count) if mask is None or mask[row]]
                expected = sorted(allowed, key=lambda row: (-scores[row], row))[:k]
                assert rows.tolist() == expected
                assert products.tolist() == scores[expected].tolist()
