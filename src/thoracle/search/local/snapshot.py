"""All latents of one state of the database: from the file of vectors what that has, and from the database the rest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from thoracle.search.local.database import Database
from thoracle.search.local.vectors import VectorFile, Vectors


def read_vectors(database: Database, stored: VectorFile | None, *, dim: int) -> Vectors:
    """Read all vectors of one state: those of the file, without those that have no record, and those that it does not have yet."""
    with database.snapshot():
        count = len(database)
        if stored is not None and _agrees(database, stored):
            tail = list(database.latents_after(stored.last_id))
            live = None if stored.live.all() else stored.live
            if int(stored.live.sum()) + len(tail) != count:
                live = stored.live & np.isin(stored.ids, _all_ids(database), assume_unique=True)
            if (len(stored.ids) if live is None else int(live.sum())) + len(tail) == count:
                return _joined(database.state, stored, live, tail, dim=dim)
        return _joined(database.state, None, None, list(database.latents_after(0)), dim=dim)


def is_consistent(database: Database, stored: VectorFile) -> bool:
    """Tell whether a file of vectors is of this database, and lacks nothing but what came later."""
    with database.snapshot():
        highest = database.rows("SELECT seq FROM sqlite_sequence WHERE name = 'record'")
        return stored.last_id <= (int(highest[0][0]) if highest else 0) and _agrees(database, stored)


def rows_without_record(database: Database, stored: VectorFile) -> list[int]:
    """List live rows of a file of vectors whose record is gone."""
    return np.flatnonzero(stored.live & ~np.isin(stored.ids, _all_ids(database), assume_unique=True)).tolist()


def _joined(
    state: str, stored: VectorFile | None, live: NDArray[np.bool_] | None, tail: list[tuple[int, bytes]], *, dim: int
) -> Vectors:  # fmt: skip
    ids = np.array([number for number, _ in tail], np.int64)
    latents = np.frombuffer(b"".join(latent for _, latent in tail), "<f4").reshape(len(tail), dim)
    if stored is None:
        return Vectors(state=state, ids=ids, array=latents)
    if live is not None:
        live = np.concatenate([live, np.ones(len(tail), bool)])
    return Vectors(
        state=state, ids=np.concatenate([stored.ids, ids]), array=stored.array, tail=latents if tail else None, live=live,
        token=stored.token,
    )  # fmt: skip


def _agrees(database: Database, stored: VectorFile) -> bool:
    """Whether the last latent that both have is the same: a database that was put back from a copy has gone on otherwise since."""
    rows = database.rows("SELECT id, latent FROM vector WHERE id <= ? ORDER BY id DESC LIMIT 1", [stored.last_id])
    if not rows:
        return True
    row = int(np.searchsorted(stored.ids, rows[0][0]))
    return bool(stored.ids[row] == rows[0][0] and stored.live[row] and stored.array[row].tobytes() == rows[0][1])


def _all_ids(database: Database) -> NDArray[np.int64]:
    return np.array([row[0] for row in database.rows("SELECT id FROM record")], np.int64)
