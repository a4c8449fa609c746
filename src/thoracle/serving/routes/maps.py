"""Map where a model reads a finding."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fastapi import APIRouter
from fastapi.responses import FileResponse

from thoracle.client.forms.scans import FindingMap, MapRequest
from thoracle.client.forms.service import JobAccepted, Method
from thoracle.errors import InputError, NotReady
from thoracle.serving.jobs.job import Job
from thoracle.serving.routes.paths import ROUTER, FindingName, ScanId, Served, file_answer
from thoracle.serving.scan_store import OpenScan
from thoracle.serving.server import check_finding
from thoracle.serving.work.results import MODELS

router = APIRouter(**ROUTER, tags=["maps"])
_MAP: Final = file_answer("application/gzip", "The grid of patches with its own affine.")


@router.post("/scans/{scan}/maps", status_code=202)
async def make_map(scan: ScanId, request: MapRequest, server: Served) -> JobAccepted:
    """Start to map where a finding is read, by the method that is named or the model's first; one that is there is not made anew."""
    opened, facts = server.store.ready_scan(scan), server.loaded()
    finding, method = request.finding, request.method
    check_finding(finding, facts)
    if method is not None and method not in facts.model.methods:
        raise InputError(f"the model makes no maps by {method}", hint=f"There are {', '.join(facts.model.methods) or 'none'}.")
    if (earlier := server.board.success_to_be(opened.map_jobs.get((finding, method), ""))) is not None:
        if earlier.result is not None:
            opened.latest_map[finding] = earlier.result.method
        return JobAccepted(job=earlier.id)
    out = opened.folder / f"map-{facts.model.findings.index(finding)}-{method or 'default'}.nii.gz"

    def keep(job: Job) -> None:
        if job.result is not None and out.is_file():
            described: FindingMap = job.result
            opened.maps[finding, described.method] = described
            opened.latest_map[finding] = described.method
            out.replace(_file(opened, facts.model.findings.index(finding), described.method))

    arguments = {"scan": str(opened.volume_folder), "finding": finding, "method": method, "out": str(out)}
    job = server.board.submit("map", lane=MODELS, scan=opened.id, arguments=arguments, conclude=keep)
    opened.job = opened.map_jobs[finding, method] = job.id
    return JobAccepted(job=job.id)


@router.get("/scans/{scan}/maps/{finding}.nii.gz", response_class=FileResponse, responses=_MAP)
async def map_file(scan: ScanId, finding: FindingName, server: Served, method: Method | None = None) -> FileResponse:
    """Return a map on its patches, in the scan's millimetres."""
    opened, facts = server.store.ready_scan(scan), server.loaded()
    described = _map(opened, finding, method)
    path = _file(opened, facts.model.findings.index(finding), described.method)
    return FileResponse(path, media_type="application/gzip", filename=f"{scan}.map.nii.gz")


@router.get("/scans/{scan}/maps/{finding}")
async def finding_map(scan: ScanId, finding: FindingName, server: Served, method: Method | None = None) -> FindingMap:
    """Describe a map: its strongest slice, where that is, and how often such a slice held the finding."""
    return _map(server.store.ready_scan(scan), finding, method)


def _map(scan: OpenScan, finding: str, method: Method | None) -> FindingMap:
    described = scan.maps.get((finding, method or scan.latest_map.get(finding, "")))
    if described is None:
        raise NotReady("this map is not made yet", hint="POST to maps first, and wait for the job.")
    return described


def _file(scan: OpenScan, number: int, method: Method) -> Path:
    return scan.folder / f"map-{number}-{method}.nii.gz"
