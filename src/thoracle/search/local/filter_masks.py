"""Which rows of an index's vectors pass a query's filters, kept for the queries that follow."""

from __future__ import annotations

from typing import Final

import numpy as np

from thoracle.search.keywords import Keywords
from thoracle.search.local.database import Database
from thoracle.search.local.vectors import Mask, Vectors
from thoracle.search.record import Filters

#: Masks at hand, a byte a volume each.
MASKS: Final = 32


class FilterMasks:
    """Compute masks of the rows of vectors; those used last stay at hand while the vectors are the same."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._vectors: Vectors | None = None
        self._masks: dict[tuple[Filters, Keywords | None], Mask] = {}

    def passing(self, vectors: Vectors, filters: Filters, *, without: Keywords | None) -> Mask:
        """Return (n,), which rows pass the filters and do not match `without`; the vectors are of the database's present state."""
        if vectors is not self._vectors:
            self._vectors, self._masks = vectors, {}
        key = (filters, without)
        passing = self._masks.pop(key, None)
        if passing is None:
            passing = np.zeros(len(vectors.ids), bool)
            passing[vectors.rows(np.array(self._database.matching(filters, without=without), np.int64))] = True
        self._masks[key] = passing
        if len(self._masks) > MASKS:
            del self._masks[next(iter(self._masks))]
        return passing
