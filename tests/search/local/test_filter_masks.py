from __future__ import annotations

import numpy as np

from thoracle.search.keywords import parse
from thoracle.search.local.database import DATABASE, Database
from thoracle.search.local.filter_masks import MASKS, FilterMasks
from thoracle.search.local.index import LocalIndex, open_for_writing
from thoracle.search.record import Filters


def test_masks_stay_for_the_filters_used_last_and_go_with_their_vectors(index: LocalIndex, make) -> None:
    database, vectors = Database(index.folder / DATABASE), index.vectors()
    masks = FilterMasks(database)
    women = masks.passing(vectors, Filters(sex="F"), without=None)
    records = index.records(index.ids())
    assert [records[number].facts.sex == "F" for number in vectors.ids.tolist()] == women.tolist()
    for least in range(MASKS - 1):
        masks.passing(vectors, Filters(age_from=least), without=None)
    assert masks.passing(vectors, Filters(sex="F"), without=None) is women
    for least in range(MASKS):
        masks.passing(vectors, Filters(age_from=100 + least), without=None)
    assert masks.passing(vectors, Filters(sex="F"), without=None) is not women

    with open_for_writing(index.folder) as writer:
        writer.add([make(200)])
    later = masks.passing(index.vectors(), Filters(sex="F"), without=None)
    assert len(later) == len(women) + 1
    database.close()


def test_words_that_are_left_out_are_part_of_what_is_asked(index: LocalIndex, make) -> None:
    with open_for_writing(index.folder) as writer:
        writer.add([make(300, words="Zebrafish.")])
    database, vectors = Database(index.folder / DATABASE), index.vectors()
    masks = FilterMasks(database)
    everything = masks.passing(vectors, Filters(), without=None)
    without = masks.passing(vectors, Filters(), without=parse("zebrafish"))
    assert everything.sum() - without.sum() == 1
    assert np.array_equal(masks.passing(vectors, Filters(), without=None), everything)
    database.close()
