"""Search the index, show and open the cases that are found, and change the index."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from thoracle.client.forms.scans import ScanOpened
from thoracle.client.forms.search import IndexRequest, IndexSize, SearchAnswer, SearchHit, SearchQuery
from thoracle.errors import AccessDenied, IndexMissing, InputError
from thoracle.serving.jobs.job import Job
from thoracle.serving.routes.paths import API, ROUTER, HitId, Served, file_answer
from thoracle.serving.server import Server
from thoracle.serving.work.results import SEARCH, RecordsFound

router = APIRouter(**ROUTER, tags=["search"])


@router.post("/search")
async def search(query: SearchQuery, server: Served) -> SearchAnswer:
    """Find cases by words, keywords, a report, an open scan or a case; several are fused by rank."""
    _require_index(server)
    filters = query.filters
    arguments = {
        "query": {
            "text": query.text,
            "keyword": query.keyword,
            "report": query.report,
            "k": query.top,
            "exact": query.exact,
            "leave_out": frozenset(query.exclude),
        },
        "scan": None if query.scan is None else str(server.store.ready_scan(query.scan).volume_folder),
        "like": None if query.hit is None else server.cases.record(query.hit).number,
        "filters": {
            "present": tuple(filters.labels),
            "absent": tuple(filters.without_labels),
            "age_from": filters.age_min,
            "age_to": filters.age_max,
            "sex": filters.sex,
            "date_from": filters.date_from,
            "date_to": filters.date_to,
            "scanner": filters.scanner,
        },
    }
    answer: RecordsFound = await server.result_of(server.board.submit("search", lane=SEARCH, arguments=arguments))
    return SearchAnswer(hits=_hits(server, answer), encoding=answer.encoding, searching=answer.searching)


@router.get("/hits/{hit}/thumbnail.png", response_class=Response, responses=file_answer("image/png", "A few slices in a lung window."))
async def thumbnail(hit: HitId, server: Served) -> Response:
    """Return a few slices of a case."""
    number = server.cases.record(hit).number
    picture = await server.result_of(server.board.submit("thumbnail", lane=SEARCH, arguments={"number": number}))
    return Response(picture, media_type="image/png", headers={"Cache-Control": "private, max-age=3600"})


@router.post("/hits/{hit}/open", status_code=202)
async def open_hit(hit: HitId, server: Served) -> ScanOpened:
    """Open the scan of a case, where its file is at hand."""
    case = server.cases.record(hit)
    if case.volume not in server.available:
        raise InputError("the file of this case is not at hand", hint="Start the server with --scans and the folder of its files.")
    scan = server.store.open()
    try:
        job = server.read_record(scan, case)
    except BaseException:
        server.close_scan(scan)
        raise
    return ScanOpened(scan=scan.id, job=job.id)


@router.post("/index/scans", status_code=201)
async def add_to_index(request: IndexRequest, server: Served) -> IndexSize:
    """Add an open scan to the index, under a random name."""
    _require_writable(server)
    opened = server.store.ready_scan(request.scan)
    arguments = {"scan": str(opened.volume_folder), "name": opened.id, "report": request.report}
    job = server.board.submit("index", lane=SEARCH, scan=opened.id, arguments=arguments)
    return await _index_size(server, job)


@router.delete("/index/records/{hit}")
async def delete_from_index(hit: HitId, server: Served) -> IndexSize:
    """Delete a case from the index, and its bytes from the disk."""
    _require_writable(server)
    number = server.cases.record(hit).number
    return await _index_size(server, server.board.submit("delete", lane=SEARCH, arguments={"number": number}))


async def _index_size(server: Server, job: Job) -> IndexSize:
    """Wait until the index has changed, and return how many volumes it has then."""
    records: int = await server.result_of(job)
    server.take_index_size(records)
    return IndexSize(records=records)


def _require_index(server: Server) -> None:
    if server.loaded().index is None:
        raise IndexMissing("no index is served", hint="Start the server with --index, as `thoracle index` makes it.")


def _require_writable(server: Server) -> None:
    _require_index(server)
    if server.settings.models.read_only_index:
        raise AccessDenied("the index is read only here", hint="Start the server without --read-only-index.")


def _hits(server: Server, answer: RecordsFound) -> list[SearchHit]:
    """Put random ids in place of records' names."""
    hits = []
    for record in answer.hits:
        id = server.cases.id_of(record.number, record.volume, record.source_sha256)
        hits.append(
            SearchHit(
                hit=id,
                score=record.score,
                labels=record.labels,
                sentence=record.sentence,
                thumbnail=f"{API}/hits/{id}/thumbnail.png" if record.has_thumbnail else None,
                scan_available=record.volume in server.available,
                sex=record.sex,
                age=record.age,
            )
        )
    return hits
