"""One index into another, from a folder to a server and back: nothing is lost, swapped, or written twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thoracle.search.backend import IndexBackend
from thoracle.search.copy import copy_index
from thoracle.search.local.index import LocalIndex
from thoracle.search.open_index import open_index_for_writing
from thoracle.search.record import Record


@pytest.fixture(params=["folder", "server"])
def new(request: pytest.FixtureRequest, tmp_path: Path, settings: dict[str, Any]) -> Iterator[IndexBackend]:
    """An empty index of the same settings."""
    if request.param == "server":
        pytest.importorskip("qdrant_client")
    location = str(tmp_path / "new") if request.param == "folder" else f"qdrant:{tmp_path}/server/cases"
    with open_index_for_writing(location, settings) as index:
        yield index


def _content(index: IndexBackend) -> dict[str, tuple[Record, np.ndarray, bytes]]:
    numbers = index.ids()
    records, thumbnails = index.records(numbers), index.thumbnails(numbers)
    return {
        records[number].volume: (records[number], latent_L, thumbnails.get(number, b""))
        for number, latent_L in zip(numbers, index.latents(numbers), strict=True)
    }


def _same(one: IndexBackend, other: IndexBackend) -> None:
    before, after = _content(one), _content(other)
    assert before.keys() == after.keys()
    for volume, (record, latent_L, thumbnail) in before.items():
        assert after[volume][0] == record
        assert after[volume][2] == thumbnail
        np.testing.assert_allclose(after[volume][1], latent_L, atol=1e-6)


def test_every_record_comes_with_its_own_latent_and_picture(index: LocalIndex, new: IndexBackend, make, tmp_path: Path, settings) -> None:
    copy_index(index, new)
    _same(index, new)
    assert len(new) == 40
    number = new.ids_where(volume="v7")
    np.testing.assert_allclose(new.latents(number)[0], make(7).latent_L, atol=1e-6)
    with open_index_for_writing(str(tmp_path / "back"), settings) as back:
        copy_index(new, back)
        _same(index, back)


def test_what_is_there_is_left_and_what_has_changed_is_replaced(index: LocalIndex, new: IndexBackend, make) -> None:
    new.add([make(3), make(5, words="Older."), make(99)])
    same, other = new.ids_where(volume="v3"), new.ids_where(volume="v99")
    added: list[str] = []
    add = new.add
    new.add = lambda additions: (added.extend(addition.record.volume for addition in additions), add(additions))[1]  # type: ignore[method-assign]
    copy_index(index, new)
    assert sorted(added) == sorted({f"v{n}" for n in range(40)} - {"v3"})
    assert (new.ids_where(volume="v3"), new.ids_where(volume="v99")) == (same, other)
    (record,) = new.records(new.ids_where(volume="v5")).values()
    assert record == make(5).record
    assert len(new) == 41
    added.clear()
    copy_index(index, new)
    assert added == [], "a second copy writes nothing"


def test_hundreds_are_copied_in_parts_and_each_is_told(tmp_path: Path, settings: dict[str, Any], make) -> None:
    told: list[int] = []
    with open_index_for_writing(str(tmp_path / "old"), settings) as old, open_index_for_writing(str(tmp_path / "many"), settings) as many:
        old.add([make(number) for number in range(300)])
        copy_index(old, many, progress=told.append)
        _same(old, many)
    assert told == [256, 300]


def test_of_an_empty_index_nothing_is_copied(tmp_path: Path, settings: dict[str, Any], new: IndexBackend) -> None:
    told: list[int] = []
    with open_index_for_writing(str(tmp_path / "empty"), settings) as empty:
        copy_index(empty, new, progress=told.append)
    assert (len(new), told) == (0, [])
