"""Search an index, and change it, in the lane of a process that has its model."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

from thoracle.cohort.reports import Report
from thoracle.errors import InputError, UnknownId
from thoracle.inference.model import Model
from thoracle.inference.prepare import PreparedVolume, prepare
from thoracle.models.encoder import Capability
from thoracle.search.backend import IndexBackend
from thoracle.search.engine import Engine, Query, SearchResult
from thoracle.search.open_index import open_index, open_index_for_writing
from thoracle.search.record import Filters, IndexedVolume, Record
from thoracle.search.slices import contact_strip
from thoracle.serving.jobs.worker import JobContext
from thoracle.serving.work.results import RecordFound, RecordsFound
from thoracle.serving.work.scan_folder import load_volume


class SearchDesk:
    """Search one index. All of it runs in one thread: the index's database belongs to the thread that opened it.

    Args:
        location: a folder, or a server's address.
        model: of the index.
    """

    def __init__(self, location: str, model: Model) -> None:
        self._location, self._model = location, model
        self._opened = ExitStack()

    @property
    def tasks(self) -> list[str]:
        """List the parts that a query can have."""
        return [*(["text", "report"] if Capability.TEXT in self._model.capabilities else []), "keyword", "scan"]

    def search(
        self, _: JobContext, *, query: Mapping[str, Any], scan: str | None, like: int | None, filters: Mapping[str, Any]
    ) -> RecordsFound:
        """Search by the parts of a query; `query` has text, keyword, report, k and leave_out, `like` is a record's number.

        Raises:
            InputError: a query or filters that make no sense.
        """
        answer = self._engine.search(
            Query(
                **query,
                scan=None if scan is None else self.prepare(scan),
                like=() if like is None else self._scan_of(like),
                filters=Filters(**filters),
            )
        )
        return self._answer(answer)

    def prepare(self, scan: str) -> PreparedVolume:
        """Prepare an open scan for the index's model."""
        return prepare(load_volume(Path(scan)), self._model.preprocess)

    def thumbnail(self, _: JobContext, *, number: int) -> bytes:
        """Return a PNG of a few slices.

        Raises:
            UnknownId: none is kept.
        """
        pictures = self._index.thumbnails([number])
        if number not in pictures:
            raise UnknownId("no slices of this case are kept", hint="Index its cohort with --thumbnails.")
        return pictures[number]

    def add(self, context: JobContext, *, scan: str, name: str, report: str) -> int:
        """Add an open scan under a random name, with the words of its report; return how many volumes the index has then.

        Raises:
            SearchError: the index cannot be written.
        """
        context.report("encoding")
        prepared = self.prepare(scan)
        source = "" if prepared.provenance is None else prepared.provenance.sha256
        record = Record(volume=name, scan=name, accession=name, patient=name, report=Report(findings=report), source_sha256=source)
        strip = contact_strip(prepared.array, self._model.preprocess)
        addition = IndexedVolume(record=record, latent_L=self._model.volume_latent(prepared), thumbnail=strip)
        context.report("writing")
        with open_index_for_writing(self._location) as index:
            index.add([addition])
        return len(self._index)

    def delete(self, context: JobContext, *, number: int) -> int:
        """Delete a record; return how many volumes the index has then.

        Raises:
            SearchError: the index cannot be written, or bytes of what was deleted could not be erased.
        """
        if number not in self._index.records([number]):
            raise UnknownId("this case is not in the index any more", hint="Search again.")
        context.report("deleting")
        with open_index_for_writing(self._location) as index:
            index.delete([number])
        return len(self._index)

    def _scan_of(self, number: int) -> tuple[int, ...]:
        record = self._index.records([number]).get(number)
        if record is None:
            raise InputError("this case is not in the index any more", hint="Search again.")
        return tuple(self._index.ids_where(scan=record.scan))

    def _answer(self, answer: SearchResult) -> RecordsFound:
        pictures = self._index.thumbnails([hit.number for hit in answer.hits])
        hits = [
            RecordFound(
                number=hit.number,
                volume=hit.record.volume,
                source_sha256=hit.record.source_sha256,
                score=hit.score,
                labels=list(hit.record.findings),
                sentence=hit.sentence,
                sex=hit.record.facts.sex,
                age=hit.record.facts.age,
                has_thumbnail=hit.number in pictures,
            )
            for hit in answer.hits
        ]
        return RecordsFound(hits=hits, encoding=answer.encoding, searching=answer.searching)

    @cached_property
    def _index(self) -> IndexBackend:
        return self._opened.enter_context(open_index(self._location))

    @cached_property
    def _engine(self) -> Engine:
        return Engine(self._index, model=self._model)
