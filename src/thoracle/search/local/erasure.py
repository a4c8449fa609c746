"""The erasing of what was deleted from an index or replaced, file by file, and what is said where a file could not be written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from thoracle.errors import ErasurePending, IndexUnwritable
from thoracle.search.local import faiss_lists
from thoracle.search.local.database import DATABASE, Database
from thoracle.search.local.snapshot import rows_without_record
from thoracle.search.local.vacuum import rewrite
from thoracle.search.local.vectors import VECTORS, erase_vectors, read_vector_file, remove_vectors


def erase_bytes(folder: Path, database: Database, *, dim: int) -> None:
    """Remove the bytes of what was deleted or replaced, file by file; approximate lists are removed, to be written without it.

    Raises:
        ErasurePending: some file could not be written; the others are erased.
    """
    failures: dict[str, str] = {}
    acts: dict[str, Callable[[], None]] = {
        VECTORS: partial(_erase_latents, folder / VECTORS, database, dim=dim),
        faiss_lists.LISTS: partial(faiss_lists.remove, folder),
        DATABASE: partial(rewrite, database),
    }
    for name, act in acts.items():
        try:
            act()
        except (OSError, IndexUnwritable) as error:
            cause = error.__cause__ or error
            failures[name] = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
    if failures:
        raise _pending(folder, failures)


def _erase_latents(path: Path, database: Database, *, dim: int) -> None:
    stored = read_vector_file(path, dim=dim)
    if stored is None:
        remove_vectors(path)
    else:
        erase_vectors(path, stored, rows_without_record(database, stored))


def _pending(folder: Path, failures: Mapping[str, str]) -> ErasurePending:
    erased = [name for name in (DATABASE, VECTORS) if name not in failures]
    left = ", ".join(f"{name} ({reason})" for name, reason in failures.items())
    room = (folder / DATABASE).stat().st_size / 1e6
    detail = (
        "what was deleted or replaced is out of every search, and what was added is kept; bytes of the old are erased from "
        f"{' and '.join(erased) or 'no file'}, and may still be in {left}"
    )
    hint = f"Make {room:,.0f} MB of room in its folder; then: thoracle index check INDEX. Until then search and adding go on."
    return ErasurePending(detail, hint=hint, source=folder)
