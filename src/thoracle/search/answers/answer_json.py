"""Write a search's hits as a JSON document."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from thoracle.search.engine import SearchResult
from thoracle.search.record import Filters
from thoracle.types import RESEARCH_USE

#: A change that breaks readers of the JSON takes the next number.
SCHEMA: Final = "thoracle.search/1"
_NAMES: Final = ("accession", "scan", "volume", "patient", "split")


def answer_json(answer: SearchResult, *, filters: Filters, trained: bool, gallery: str = "scans") -> dict[str, Any]:
    """Build the document of an answer.

    Args:
        answer: hits, best first, and seconds.
        filters: that the query had.
        trained: whether the index's model was.
        gallery: what hits are, "scans" or "reports"; of a report `volume` is its scan.

    Returns:
        Plain JSON types, tuples among them.
    """
    hits = [
        {
            "rank": rank,
            "score": hit.score,
            "ranks": dict(hit.ranks),
            **{name: getattr(hit.record, name) for name in _NAMES},
            **asdict(hit.record.facts),
            "labels": hit.record.findings,
            "scores": dict(hit.record.scores),
            "sentence": hit.sentence,
        }
        for rank, hit in enumerate(answer.hits, 1)
    ]
    seconds = {"encoding": answer.encoding, "searching": answer.searching}
    query = {"for": gallery, "filters": asdict(filters)}
    return {"schema": SCHEMA, **query, "trained": trained, "seconds": seconds, "hits": hits, "notice": RESEARCH_USE}
