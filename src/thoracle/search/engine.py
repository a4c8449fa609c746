"""A query in words, by a scan, a report, keywords, a known scan, or several of these, into hits; knows what an index is, not which.

A hit is a scan: of its volumes the best stands for it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from thoracle.cohort.reports import clean_text
from thoracle.errors import InputError
from thoracle.search.backend import IndexBackend, Matches
from thoracle.search.fusion import fuse
from thoracle.search.keywords import Keywords, all_terms, best_sentences, exclusion, parse
from thoracle.search.lookup import require_scored
from thoracle.search.model_lookup import check_same_model
from thoracle.search.record import Filters, LatentArray, Record, hash_report

if TYPE_CHECKING:
    from thoracle.inference.model import Model
    from thoracle.inference.prepare import PreparedVolume

QueryPart = Literal["text", "scan", "report", "keyword", "like"]

PARTS: Final[tuple[QueryPart, ...]] = ("text", "scan", "report", "keyword", "like")
_LEFT_OUT: Final = ("scan", "patient", "duplicates")
_NO_FILTERS: Final = Filters()
_MOST: Final = 1000  # hits
_DEPTH: Final = 1000  # of each ranking that is fused
_DEEPER: Final = 8  # times so many, where that did not give enough hits
_SAME: Final = 1 - 1e-6  # cosine of latents that are of the same voxels
_CANCELLED: Final = 1e-6  # norm of a mean of unit latents that rounding alone leaves


@dataclass(frozen=True, kw_only=True, eq=False)
class Query:
    """Describe a query; one part at least.

    Attributes:
        text: free text: what should be present.
        scan: a scan, prepared for the index's model.
        report: the text of a report.
        keyword: a keyword query (`thoracle.search.keywords`); what it excludes is no hit, whichever part finds it.
        like: ids of the volumes of a scan in the index.
        filters: what must hold of every hit.
        weights: of the parts that are there, where several are fused; 1 by default.
        leave_out: of what is looked for: its own scan, all of its patient's, or duplicates: of a scan, those of the same bytes, voxels or
            latent; of a report, those of the same words. A scan from a file is known by its bytes or latent, a report by its words; `text`
            and `keyword` are of nobody.
        k: at most so many hits.
        exact: miss none, whatever it takes.
    """

    text: str = ""
    scan: PreparedVolume | None = None
    report: str = ""
    keyword: str = ""
    like: tuple[int, ...] = ()
    filters: Filters = _NO_FILTERS
    weights: Mapping[QueryPart, float] = field(default_factory=dict)
    leave_out: frozenset[str] = frozenset()
    k: int = 10
    exact: bool = False


@dataclass(frozen=True, kw_only=True)
class Hit:
    """Hold a scan that matched.

    Attributes:
        number: id of its volume in the index.
        record: of that volume.
        score: of a query of one part BM25 or cosine (of a text, with the direction from its absence to its presence), the sum of weighted
            reciprocal ranks of several.
        ranks: among the volumes, by part; absent where the part did not find it.
        sentence: of its report, that which has most of the query's words; its first where none has any.
    """

    number: int
    record: Record
    score: float
    ranks: Mapping[str, int]
    sentence: str


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """Hold hits, best first, and seconds: until the query was a latent, and from there to the hits."""

    hits: tuple[Hit, ...]
    encoding: float
    searching: float


class Engine:
    """Search an index with the model of its latents; without a model, by keywords and known scans.

    Args:
        index: of volumes, which known scans are looked up in.
        model: of its latents.
        reports: the index's reports; hits are of them then, each with words of its own, and not of volumes.

    Raises:
        IndexMismatch: it is another model, or preprocesses differently.
    """

    def __init__(self, index: IndexBackend, *, model: Model | None = None, reports: IndexBackend | None = None) -> None:
        self._index, self._model, self._gallery = index, model, index if reports is None else reports
        if model is not None:
            check_same_model(index, model)
            check_same_model(self._gallery, model)

    def search(self, query: Query) -> SearchResult:
        """Return the best hits.

        Raises:
            InputError: nothing is asked for, or something that makes no sense, or as `require_scored`.
            TokenizerMissing, CapabilityMissing: the model cannot read words.
        """
        _check(query)
        start = time.perf_counter()
        latents = self._encode(query)
        encoded = time.perf_counter()
        keywords = parse(query.keyword) if query.keyword else None
        rankings, chosen = self._found(query, latents, keywords)
        if not chosen:
            require_scored(self._gallery, query.filters)
        ranks = {part: {number: rank for rank, (number, _) in enumerate(matches, 1)} for part, matches in rankings.items()}
        terms = [] if keywords is None else all_terms(keywords, excluded=False)
        words = (query.text, clean_text(query.report), *(term.text for term in terms if not term.prefix))
        beginnings = [term.text for term in terms if term.prefix]
        sentences = best_sentences([record.report for _, record, _ in chosen], " ".join(words), beginnings=beginnings)
        hits = tuple(
            Hit(number=number, record=record, score=score, ranks={p: r[number] for p, r in ranks.items() if number in r}, sentence=sentence)
            for (number, record, score), sentence in zip(chosen, sentences, strict=True)
        )
        return SearchResult(hits=hits, encoding=encoded - start, searching=time.perf_counter() - encoded)

    def _encode(self, query: Query) -> dict[QueryPart, LatentArray]:
        """(L,) of each part that has a latent."""
        latents: dict[QueryPart, LatentArray] = {}
        if query.text:
            from thoracle.inference.text.text_query import text_query_latents  # keywords need no torch

            latents["text"] = text_query_latents(self._loaded, [query.text])[0].cpu().numpy()
        if report := clean_text(query.report):
            latents["report"] = self._loaded.encode_text([report])[0].cpu().numpy()
        if query.scan is not None:
            latents["scan"] = self._loaded.volume_latent(query.scan)
        if query.like:
            latents["like"] = _direction(self._index.latents(query.like))
        return latents

    def _found(
        self, query: Query, latents: Mapping[QueryPart, LatentArray], keywords: Keywords | None
    ) -> tuple[dict[QueryPart, Matches], list[tuple[int, Record, float]]]:
        """Rankings, and the hits of them: so deep that volumes of one scan and what is left out do not cost hits."""
        alone = len(latents) + bool(query.keyword) == 1
        depth = 20 * query.k + 100 if alone else max(_DEPTH, 20 * query.k)
        exclusions = self._exclusions(query, latents)
        while True:
            rankings = self._rankings(query, latents, keywords, k=depth)
            matches = fuse(rankings, weights=query.weights) if len(rankings) > 1 else next(iter(rankings.values()))
            chosen = self._scans(query, matches, exclusions)
            if len(chosen) == query.k or all(len(matches) < depth for matches in rankings.values()):
                return rankings, chosen
            depth *= _DEEPER

    def _rankings(
        self, query: Query, latents: Mapping[QueryPart, LatentArray], keywords: Keywords | None, *, k: int
    ) -> dict[QueryPart, Matches]:
        without = None if keywords is None else exclusion(keywords)
        matches: dict[QueryPart, Matches] = {
            part: self._gallery.vector_search(latent, k=k, filters=query.filters, exact=query.exact, without=without)
            for part, latent in latents.items()
        }
        if keywords is not None:
            matches["keyword"] = self._gallery.keyword_search(keywords, k=k, filters=query.filters)
        return matches

    def _scans(self, query: Query, matches: Matches, exclusions: _Exclusions) -> list[tuple[int, Record, float]]:
        """The best volume of each of the best k scans, or report of each wording, without what is to be left out."""
        chosen: dict[str, tuple[int, Record, float]] = {}
        for number, record, score in self._read(matches, first=query.k):
            hit = record.scan if self._gallery is self._index else record.report_sha256
            if hit not in chosen and not exclusions.holds(number, record):
                chosen[hit] = (number, record, score)
            if len(chosen) == query.k:
                break
        return list(chosen.values())

    def _exclusions(self, query: Query, latents: Mapping[QueryPart, LatentArray]) -> _Exclusions:
        """What is looked for, where the index has it, as far as it is to be left out."""
        if not query.leave_out:
            return _Exclusions()
        by_patient, duplicates = "patient" in query.leave_out, "duplicates" in query.leave_out
        parts: tuple[QueryPart, ...] = ("scan", "like") if duplicates else ("scan",)
        alike = {part: self._same_latent(latents[part]) for part in parts if part in latents}
        volumes = {*query.like, *alike.get("scan", [])}
        if query.scan is not None and query.scan.provenance is not None:
            volumes.update(self._index.ids_where(source_sha256=query.scan.provenance.sha256))
        words = hash_report(query.report)
        reports = self._gallery.ids_where(report_sha256=words) if words else []
        scanned = list(self._index.records(sorted(volumes)).values())
        records = [*scanned, *self._gallery.records(reports).values()]
        scans = {record.scan for record in records} if by_patient or "scan" in query.leave_out else set()
        copies = {number for numbers in alike.values() for number in numbers} if duplicates else set()
        if self._gallery is not self._index:  # copies are volumes; what is left out is their reports
            scans |= {record.scan for record in self._index.records(sorted(copies | volumes if duplicates else copies)).values()}
            copies = set()
        return _Exclusions(
            scans=frozenset(scans),
            patients=frozenset(record.patient for record in records if record.patient) if by_patient else frozenset(),
            numbers=frozenset(copies.union(reports)) if duplicates else frozenset(),
            digests=frozenset(digest for record in scanned for digest in _digests(record)) if duplicates else frozenset(),
        )

    def _same_latent(self, latent: LatentArray) -> list[int]:
        """Ids of volumes with this very latent."""
        depth = _DEPTH
        while True:
            same = [n for n, score in self._index.vector_search(latent, k=depth, filters=_NO_FILTERS, exact=True) if score > _SAME]
            if len(same) < depth:
                return same
            depth *= _DEEPER

    def _read(self, matches: Matches, *, first: int) -> Iterator[tuple[int, Record, float]]:
        """Yield records of matches, read in portions that grow: mostly the first is enough."""
        start = 0
        while start < len(matches):
            part = matches[start : start + max(first, start)]
            records = self._gallery.records([number for number, _ in part])
            yield from ((number, records[number], score) for number, score in part if number in records)
            start += len(part)

    @property
    def _loaded(self) -> Model:
        if self._model is None:
            raise InputError("words and scans need the model that made the index", hint="Give --model.")
        return self._model


def _direction(latents_nL: LatentArray) -> LatentArray:
    """(L,) of unit norm: where the mean points."""
    mean = latents_nL.mean(axis=0)
    norm = np.linalg.norm(mean)
    if norm < _CANCELLED:
        detail = f"the latents of the {len(latents_nL):,} volumes of the known scan cancel out: their mean is like no case"
        raise InputError(detail, hint="Give one of its volumes as a file, with --scan.")
    direction: LatentArray = mean / norm
    return direction


def _parts(query: Query) -> list[QueryPart]:
    """The parts that something is looked for by."""
    present = (query.text.strip(), query.scan is not None, clean_text(query.report), query.keyword.strip(), query.like)
    return [part for part, given in zip(PARTS, present, strict=True) if given]


def _check(query: Query) -> None:
    parts = _parts(query)
    if not parts:
        raise InputError("nothing is looked for", hint="Give --text, --scan, --report, --keyword or --similar-to.")
    if not 1 <= query.k <= _MOST:
        raise InputError(f"between 1 and {_MOST:,} hits can be asked for, not {query.k:,}", hint="Ask for fewer.")
    if unknown := sorted(query.leave_out.difference(_LEFT_OUT)):
        raise InputError(f"{unknown[0]!r:.40} cannot be left out", hint=f"{', '.join(_LEFT_OUT)} can.")
    if query.leave_out and not (query.scan is not None or query.report.strip() or query.like):
        hint = "Leave it out, or give --scan, --report or --similar-to too."
        raise InputError("words are nobody's: there is no scan or patient of the query's own to exclude", hint=hint)
    for part, weight in query.weights.items():
        if part not in PARTS or not 0 < weight < float("inf"):
            raise InputError(f"a weight is a positive number of {', '.join(PARTS)}, got {part}={weight}", hint="Write for example text=2.")
        if part not in parts:
            detail = f"a weight of {part} is given, and the query has no {part}: its parts are {', '.join(parts)}"
            raise InputError(detail, hint="Leave the weight out, or look for that too.")


@dataclass(frozen=True, kw_only=True)
class _Exclusions:
    """What is left out: scans, patients, volumes by id, and by hash of their bytes or voxels."""

    scans: frozenset[str] = frozenset()
    patients: frozenset[str] = frozenset()
    numbers: frozenset[int] = frozenset()
    digests: frozenset[tuple[str, str]] = frozenset()

    def holds(self, number: int, record: Record) -> bool:
        is_own = record.scan in self.scans or record.patient in self.patients or number in self.numbers
        return is_own or not self.digests.isdisjoint(_digests(record))


def _digests(record: Record) -> list[tuple[str, str]]:
    digests = [("source", record.source_sha256), ("voxels", record.voxels_sha256)]
    return [(kind, digest) for kind, digest in digests if digest]
