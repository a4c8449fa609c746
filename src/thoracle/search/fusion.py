"""Several rankings into one, by rank alone, for cosines and BM25 share no scale."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from math import fsum
from typing import Final, TypeVar

from thoracle.search.backend import Matches

Part = TypeVar("Part", bound=str)
#: How little first place counts more than second: Cormack, Clarke and Büttcher (SIGIR 2009).
_SMOOTH: Final = 60


def fuse(rankings: Mapping[Part, Matches], *, weights: Mapping[Part, float]) -> Matches:
    """Fuse rankings by reciprocal rank: the sum of weight / (60 + rank) over the rankings that a record is in; of ties the smaller id
    first.

    Args:
        rankings: by part.
        weights: by part; 1 where absent.
    """
    terms: dict[int, list[float]] = defaultdict(list)
    for part, matches in rankings.items():
        for rank, (number, _) in enumerate(matches, 1):
            terms[number].append(weights.get(part, 1.0) / (_SMOOTH + rank))
    scores = [(number, fsum(parts)) for number, parts in terms.items()]  # rounded once: a plain sum breaks ties by the order of parts
    return sorted(scores, key=lambda pair: (-pair[1], pair[0]))
