from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thoracle.search.local import vectors as module
from thoracle.search.local.vectors import (
    JOURNAL,
    Vectors,
    append_vectors,
    erase_vectors,
    nearest,
    read_vector_file,
    remove_vectors,
    write_vector_file,
)

_IDS = [7, 14, 15, 21, 28]


def _latents(ids: list[int], dim: int = 3) -> list[tuple[int, bytes]]:
    return [(number, np.random.default_rng(number).standard_normal(dim, dtype=np.float32).tobytes()) for number in ids]


def _rows(path: Path) -> dict[int, bytes]:
    """Ids and latents of the rows that are not erased."""
    stored = read_vector_file(path, dim=3)
    assert stored is not None
    return {int(stored.ids[row]): stored.array[row].tobytes() for row in np.flatnonzero(stored.live)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The latents' file, of five rows."""
    write_vector_file(tmp_path / "v.bin", _latents(_IDS), dim=3)
    return tmp_path / "v.bin"


def test_what_is_written_and_appended_is_read_again(path: Path) -> None:
    assert _rows(path) == dict(_latents(_IDS))
    before = path.read_bytes()
    stored = read_vector_file(path, dim=3)
    assert stored is not None
    append_vectors(path, stored, _latents([30, 44]))
    assert _rows(path) == dict(_latents([*_IDS, 30, 44]))
    assert path.read_bytes()[: len(before)] == before, "what was there is not written again"
    assert (stored.last_id, len(stored.damaged_rows())) == (28, 0)


def test_more_rows_than_are_written_in_one_go(path: Path) -> None:
    ids = list(range(1, 2500))
    write_vector_file(path, _latents(ids), dim=3)
    assert _rows(path) == dict(_latents(ids))


def test_erased_rows_are_zeros_also_for_who_has_mapped_them(path: Path) -> None:
    stored = read_vector_file(path, dim=3)
    assert stored is not None
    erase_vectors(path, stored, [1, 3])
    left = [7, 15, 28]
    assert _rows(path) == dict(_latents(left))
    assert stored.array[1].tolist() == [0, 0, 0]
    contents = path.read_bytes() + path.with_suffix(JOURNAL).read_bytes()
    assert [latent in contents for _, latent in _latents(_IDS)] == [True, False, True, False, True]
    again = read_vector_file(path, dim=3)
    assert again is not None
    assert len(again.damaged_rows()) == 0


def test_half_an_append_counts_for_nothing_and_is_written_over(path: Path) -> None:
    stored = read_vector_file(path, dim=3)
    assert stored is not None
    size, journal = path.stat().st_size, path.with_suffix(JOURNAL)
    lines = journal.read_bytes()
    append_vectors(path, stored, _latents([30, 31]))
    whole, grown = journal.read_bytes(), path.read_bytes()
    for length, ids in ((len(lines), _IDS), (len(lines) + 9, _IDS), (len(lines) + 16, [*_IDS, 30]), (len(whole), [*_IDS, 30, 31])):
        path.write_bytes(grown)
        journal.write_bytes(whole[:length])
        assert _rows(path) == dict(_latents(ids))
        cut = read_vector_file(path, dim=3)
        assert cut is not None
        append_vectors(path, cut, _latents([50]))
        assert _rows(path) == dict(_latents([*ids, 50]))
        assert path.stat().st_size >= size


def test_files_that_are_absent_cut_contradict_themselves_or_are_no_pair_are_none(path: Path, tmp_path: Path) -> None:
    journal = path.with_suffix(JOURNAL)
    content, lines = path.read_bytes(), journal.read_bytes()
    assert read_vector_file(tmp_path / "w.bin", dim=3) is None
    assert read_vector_file(path, dim=4) is None
    write_vector_file(tmp_path / "other.bin", _latents(_IDS), dim=3)
    for file, bad in (
        (path, content[:-1]),
        (path, content[:63]),
        (path, b""),
        (path, (tmp_path / "other.bin").read_bytes()),
        (journal, b""),
        (journal, lines[:40]),
        (journal, lines[:64] + lines[80:96] + lines[64:80] + lines[96:]),
        (journal, lines + bytes(16)),
        (path, b"THORVEC1" + content[8:]),
    ):
        file.write_bytes(bad)
        assert read_vector_file(path, dim=3) is None, bad[:90]
        path.write_bytes(content)
        journal.write_bytes(lines)
    assert _rows(path) == dict(_latents(_IDS))
    remove_vectors(path)
    assert [name.name for name in sorted(tmp_path.iterdir())] == ["other.bin", "other.rows"]


def test_a_latent_or_an_id_that_is_not_what_was_written_is_named_by_its_row(path: Path) -> None:
    journal = path.with_suffix(JOURNAL)
    content, lines = path.read_bytes(), journal.read_bytes()
    path.write_bytes(content[:64] + bytes([content[64] ^ 1]) + content[65:])
    journal.write_bytes(lines[: 64 + 3 * 16] + b"\x16" + lines[64 + 3 * 16 + 1 :])  # 22 in place of 21
    stored = read_vector_file(path, dim=3)
    assert stored is not None
    assert stored.damaged_rows().tolist() == [0, 3]


def test_files_are_their_owners_alone(path: Path) -> None:
    assert {name.stat().st_mode & 0o777 for name in (path, path.with_suffix(JOURNAL))} == {0o600}


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


@given(data=st.data(), count=st.integers(1, 30), stored=st.integers(0, 30), k=st.integers(1, 40), first=st.integers(0, 30))
def test_rows_behind_the_file_and_rows_that_are_gone_are_searched_as_one_array(
    data: st.DataObject, count: int, stored: int, k: int, first: int
) -> None:
    stored, whole = min(stored, count), st.integers(-2, 2)
    array = np.array(data.draw(st.lists(st.tuples(whole, whole), min_size=count, max_size=count)), np.float32)
    live = np.array(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    query = np.array(data.draw(st.tuples(whole, whole)), np.float32)
    vectors = Vectors(state="", ids=np.arange(count) * 3, array=array[:stored], tail=array[stored:], live=live)
    ((rows, products),) = vectors.nearest(query[None], k=k, first=first)
    scores = array @ query
    expected = sorted((row for row in range(first, count) if live[row]), key=lambda row: (-scores[row], row))[:k]
    assert rows.tolist() == expected
    assert products.tolist() == scores[expected].tolist()
    assert vectors.rows(np.array([3 * count, 0, 1, 3 * (count - 1), -3])).tolist() == [0, count - 1]
    order = np.array(data.draw(st.permutations(range(count))), np.intp)
    assert np.array_equal(vectors.take(order), array[order])
