"""The same index on a Qdrant server, or cluster of them, for what one machine cannot hold.

Latents are a dense vector, the words of a report a sparse one whose weights the server multiplies with inverse document frequencies, which
makes BM25; keyword queries become filters over stems. Needs the extra `qdrant`. The client's local mode speaks the same language.
"""

from __future__ import annotations

import warnings
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from thoracle.errors import IndexMismatch, IndexMissing, SearchError
from thoracle.files.run_settings import check_settings
from thoracle.search.backend import SCHEMA, Matches
from thoracle.search.keywords import UNSTEMMED, Keywords, positive_terms, stems
from thoracle.search.qdrant.points import (
    KEYWORDS,
    NUMBERS,
    bm25,
    number_of,
    place,
    qdrant_models,
    to_condition,
    to_filter,
    to_payload,
    to_record,
)
from thoracle.search.record import Filters, IndexedVolume, LatentArray, Record, check_latents

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

_LATENT: Final = "latent"
_WORDS: Final = "words"
#: Parts of a payload that no record is made of.
_LONG: Final = ["thumbnail", "stems", "stemmed", "words"]
_AT_ONCE: Final = 256


class QdrantIndex:
    """Keep an index as a collection of a Qdrant server.

    Args:
        client: connected.
        collection: its name.

    Raises:
        IndexMissing: the server has no such collection, or one that is no index.
        IndexMismatch: it is of another schema.
    """

    def __init__(self, client: QdrantClient, collection: str) -> None:
        self._client, self._collection = client, collection
        with _faults(collection):
            existing = client.get_collection(collection) if client.collection_exists(collection) else None
        self._settings = dict((existing.config.metadata if existing is not None else None) or {})
        if "dim_latent" not in self._settings:
            raise IndexMissing("the server has no index of this name", hint="Make one: thoracle index copy INDEX URL.", source=collection)
        if self._settings.get("schema") != SCHEMA:
            detail = f"is of schema {str(self._settings.get('schema'))[:40]}, where {SCHEMA} was expected"
            hint = "Make it anew under another name with `thoracle index COHORT --model MODEL --out URL`, or copy an index there."
            raise IndexMismatch(detail, hint=hint, source=collection)

    @classmethod
    def create_or_open(cls, client: QdrantClient, collection: str, settings: Mapping[str, Any]) -> QdrantIndex:
        """Create a collection, or open one that was created with the same settings.

        Raises:
            IndexMismatch: it was begun with others.
        """
        models, settings = qdrant_models(), {"schema": SCHEMA, **settings}
        with _faults(collection):
            if not client.collection_exists(collection):
                client.create_collection(
                    collection,
                    vectors_config={_LATENT: models.VectorParams(size=settings["dim_latent"], distance=models.Distance.DOT)},
                    sparse_vectors_config={_WORDS: models.SparseVectorParams(modifier=models.Modifier.IDF)},
                    metadata=settings,
                )
                kinds = models.PayloadSchemaType
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", UserWarning)  # the local mode says that it does without
                    for field in (*KEYWORDS, *NUMBERS):
                        client.create_payload_index(collection, field, field_schema=kinds.KEYWORD if field in KEYWORDS else kinds.INTEGER)
        server = cls(client, collection)
        check_settings(server.settings, settings=settings, refusal=IndexMismatch, hint="Give another name.", source=collection)
        return server

    @property
    def settings(self) -> Mapping[str, Any]:
        """Return the index's settings."""
        return self._settings

    def __len__(self) -> int:
        with _faults(self._collection):
            return int(self._client.count(self._collection).count)

    def vector_search(
        self, latent_L: LatentArray, *, k: int, filters: Filters, exact: bool = False, without: Keywords | None = None
    ) -> Matches:
        """Search by vector with the server's own approximate index, unless `exact`."""
        models, passing = qdrant_models(), to_filter(filters)
        if without is not None:
            passing = models.Filter(must=[passing] if passing else [], must_not=[to_condition(without)])
        return self._query(latent_L.tolist(), _LATENT, k=k, filters=passing, params=models.SearchParams(exact=exact))

    def keyword_search(self, query: Keywords, *, k: int, filters: Filters) -> Matches:
        """Search reports by keywords."""
        models = qdrant_models()
        hashes = sorted({place(stem) for stem in stems([positive_terms(query)])[0]})
        vector = models.SparseVector(indices=hashes, values=[1.0] * len(hashes))
        both = models.Filter(must=[to_condition(query), *([to_filter(filters)] if filters else [])])
        matches = self._query(vector, _WORDS, k=k, filters=both, params=None)
        if len(matches) < k:  # what holds a beginning alone shares no whole stem with the query
            scores = dict(matches)
            with _faults(self._collection):
                others, _ = self._client.scroll(self._collection, scroll_filter=both, limit=k, with_payload=False)
            matches += [(int(point.id), 0.0) for point in others if point.id not in scores][: k - len(matches)]
        return matches

    def matching_records(self, query: Keywords | None, *, filters: Filters) -> list[Record]:
        """Return all records that match and pass, without their reports."""
        conditions = [to_condition(query)] if query is not None else []
        passing = qdrant_models().Filter(must=[*conditions, *([to_filter(filters)] if filters else [])])
        selector = qdrant_models().PayloadSelectorExclude(exclude=[*_LONG, "findings", "impression"])
        points = self._scroll(passing, with_payload=selector)
        return [to_record(point.payload) for point in sorted(points, key=lambda point: int(point.id))]

    def records(self, numbers: Sequence[int]) -> dict[int, Record]:
        """Return records by id."""
        selector = qdrant_models().PayloadSelectorExclude(exclude=_LONG)
        points = self._points(numbers, with_payload=selector)
        return {int(point.id): to_record(point.payload) for point in points}

    def latents(self, numbers: Sequence[int]) -> LatentArray:
        """Return latents by id."""
        points = sorted(self._points(numbers, with_vectors=[_LATENT]), key=lambda point: int(point.id))
        return np.array([point.vector[_LATENT] for point in points], np.float32)

    def thumbnails(self, numbers: Sequence[int]) -> dict[int, bytes]:
        """Return thumbnails by id."""
        points = self._points(numbers, with_payload=["thumbnail"])
        return {int(point.id): b64decode(point.payload["thumbnail"]) for point in points if point.payload.get("thumbnail")}

    def ids_where(self, **values: str) -> list[int]:
        """List ids of records with these values."""
        models = qdrant_models()
        must = [models.FieldCondition(key=name, match=models.MatchValue(value=value)) for name, value in values.items()]
        return self._numbers(models.Filter(must=must))

    def ids_ending(self, **endings: str) -> list[int]:
        """List ids of records whose names end as pseudonyms do, in "_" and eight digits."""
        models = qdrant_models()
        values = [f"{name}{ending}" for name, ending in endings.items()]
        must = [models.FieldCondition(key="endings", match=models.MatchValue(value=value)) for value in values]
        return self._numbers(models.Filter(must=must))

    def ids(self) -> list[int]:
        """List all ids, in order."""
        return self._numbers(None)

    def add(self, additions: Sequence[IndexedVolume]) -> None:
        """Add volumes to the collection.

        Raises:
            InputError: a latent of another width, that is not finite, or zero; then none is added.
        """
        check_latents(additions, dim=self._settings["dim_latent"])
        models = qdrant_models()
        for start in range(0, len(additions), _AT_ONCE):
            part = additions[start : start + _AT_ONCE]
            texts = [text for addition in part for text in (addition.record.report.findings, addition.record.report.impression)]
            cut, written = stems(texts), stems(texts, tokenizer=UNSTEMMED)
            points = []
            for n, addition in enumerate(part):
                report_stems = cut[2 * n : 2 * n + 2]
                vector = {_LATENT: addition.latent_L.tolist(), _WORDS: models.SparseVector(**bm25(report_stems[0] + report_stems[1]))}
                payload = to_payload(addition, report_stems, (word for text in written[2 * n : 2 * n + 2] for word in text))
                points.append(models.PointStruct(id=number_of(addition.record.volume), vector=vector, payload=payload))
            with _faults(self._collection):
                self._client.upsert(self._collection, points, wait=True)

    def delete(self, numbers: Sequence[int]) -> None:
        """Delete records. The server rewrites its segments in its own time."""
        with _faults(self._collection):
            self._client.delete(self._collection, points_selector=list(numbers), wait=True)

    def _query(self, query: Any, using: str, *, k: int, filters: Any, params: Any) -> Matches:
        with _faults(self._collection):
            answer = self._client.query_points(
                self._collection, query=query, using=using, query_filter=filters, search_params=params, limit=k, with_payload=False
            )
        return [(int(point.id), float(point.score)) for point in answer.points]

    def _numbers(self, filters: Any) -> list[int]:
        return sorted(int(point.id) for point in self._scroll(filters, with_payload=False))

    def _scroll(self, filters: Any, *, with_payload: Any) -> list[Any]:
        points: list[Any] = []
        offset: Any = None
        while True:
            with _faults(self._collection):
                page, offset = self._client.scroll(
                    self._collection, scroll_filter=filters, limit=1000, offset=offset, with_payload=with_payload
                )
            points += page
            if offset is None:
                return points

    def _points(self, numbers: Sequence[int], *, with_payload: Any = False, with_vectors: Any = False) -> list[Any]:
        with _faults(self._collection):
            return list(self._client.retrieve(self._collection, list(numbers), with_payload=with_payload, with_vectors=with_vectors))


@contextmanager
def _faults(collection: str) -> Iterator[None]:
    """The client's errors as ours."""
    qdrant_models()
    from qdrant_client.common.client_exceptions import QdrantException
    from qdrant_client.http.exceptions import ApiException

    try:
        yield
    except (ApiException, QdrantException, OSError) as error:
        message = str(error).split("\n", maxsplit=1)[0][:200]
        raise SearchError(
            f"the server does not do it ({message})", hint="Check its address, its key and that it runs.", source=collection
        ) from error
