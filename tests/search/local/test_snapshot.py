"""All latents of a state: from the file of vectors where it agrees with the database, and from the database what it lacks."""

from __future__ import annotations

import numpy as np
import pytest

from thoracle.search.local.database import DATABASE, Database
from thoracle.search.local.index import LocalIndex, open_for_writing
from thoracle.search.local.snapshot import read_vectors
from thoracle.search.local.vectors import VECTORS
from thoracle.search.record import Filters

_ALL = Filters()


def test_without_a_file_all_latents_are_the_databases(database: Database, make) -> None:
    with database.change():
        database.add([make(1), make(2), make(3)])
    vectors = read_vectors(database, None, dim=8)
    assert (vectors.ids.tolist(), vectors.state) == ([1, 2, 3], database.state)
    assert np.array_equal(vectors.array, np.stack([make(number).latent_L for number in (1, 2, 3)]))


def test_files_are_made_again_from_the_database(index: LocalIndex, make) -> None:
    query = make(5).latent_L
    expected = index.vector_search(query, k=40, filters=_ALL)
    path = index.folder / VECTORS
    for content in (path.read_bytes()[:-1], b"", path.read_bytes().replace(b"THORVEC1", b"THORVEC2")):
        path.write_bytes(content)
        reader = LocalIndex(index.folder)
        assert reader.vector_search(query, k=40, filters=_ALL) == expected, "without the file"
        with open_for_writing(index.folder):
            pass
        assert LocalIndex(index.folder).vector_search(query, k=40, filters=_ALL) == expected
        assert len(path.read_bytes()) > 40 * 8 * 4


def test_a_database_put_back_from_a_copy_takes_no_latents_of_the_files_that_went_on(index: LocalIndex, make) -> None:
    copy = (index.folder / DATABASE).read_bytes()
    with open_for_writing(index.folder) as begun:
        begun.add([make(60), make(61)])
    (index.folder / DATABASE).write_bytes(copy)
    reader = LocalIndex(index.folder)
    assert len(reader.vector_search(make(60).latent_L, k=99, filters=_ALL)) == 40
    with open_for_writing(index.folder) as begun:
        begun.add([make(62)])
    assert reader.vector_search(make(62).latent_L, k=1, filters=_ALL)[0][1] == pytest.approx(1)
    assert len(LocalIndex(index.folder).vectors().live_rows) == 41
