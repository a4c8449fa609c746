"""One index into another, wherever they are; what is there already is left as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from thoracle.search.backend import IndexBackend
from thoracle.search.record import IndexedVolume

_AT_ONCE: Final = 256


def copy_index(old: IndexBackend, new: IndexBackend, *, progress: Callable[[int], None] = lambda _: None) -> None:
    """Add each record of `old` that `new` has not, or has otherwise.

    Args:
        old: opened.
        new: opened for writing, of the same settings.
        progress: told how many are done.
    """
    numbers = old.ids()
    for start in range(0, len(numbers), _AT_ONCE):
        part = numbers[start : start + _AT_ONCE]
        records, thumbnails = old.records(part), old.thumbnails(part)
        latents = dict(zip(sorted(part), old.latents(part), strict=True))
        additions = [
            IndexedVolume(record=record, latent_L=np.asarray(latents[number]), thumbnail=thumbnails.get(number, b""))
            for number, record in records.items()
            if record not in new.records(new.ids_where(volume=record.volume)).values()
        ]
        if additions:
            new.add(additions)
        progress(start + len(part))
