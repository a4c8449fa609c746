"""Open scans, show them, close them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, Response
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect

from thoracle.client.forms.scans import Axis, ScanDetail, ScanList, ScanOpened
from thoracle.ct.nifti_image import to_ras
from thoracle.errors import TruncatedFile
from thoracle.files.csv_text import csv_text
from thoracle.serving.pictures import PREVIEW, preview_affine, slice_png, volume_nifti
from thoracle.serving.routes.paths import ROUTER, ScanId, Served, file_answer
from thoracle.serving.scan_store import OpenScan, ScanStore
from thoracle.serving.uploads import receive

router = APIRouter(**ROUTER, tags=["scans"])
_BINARY: Final = {"schema": {"type": "string", "format": "binary"}}
_UPLOAD: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {"files": {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}}},
                }
            },
            "application/octet-stream": _BINARY,
            "application/zip": _BINARY,
        },
    }
}


class Window(BaseModel):
    """Hold the window of a picture in HU."""

    level: float = Field(-600, ge=-10_000, le=10_000)
    width: float = Field(1500, ge=1, le=20_000)


@router.post("/scans", status_code=202, openapi_extra=_UPLOAD)
async def open_scan(request: Request, server: Served) -> ScanOpened:
    """Open a scan: a NIfTI, NRRD or MetaImage file, DICOM files, a header (.mhd, .nhdr, .hdr) with its data file, or a .zip of them.

    Names of files are looked at where a header names its data file, and never kept. Each series of several is a scan of its own; the
    first is the one that is named here, the others come into the list once they are read.
    """
    scan = server.store.open()
    upload = scan.folder / "upload"
    try:
        names = await receive(
            request.stream(),
            request.headers.get("content-type", ""),
            upload,
            limit=server.settings.upload_bytes,
            idle_seconds=server.settings.idle_seconds,
            count=_count(server.store, scan),
        )
        job = server.read_upload(scan, upload, names)
    except ClientDisconnect as error:
        server.close_scan(scan)
        raise TruncatedFile("the sender went away", hint="Send it again.") from error
    except BaseException:
        server.close_scan(scan)
        raise
    return ScanOpened(scan=scan.id, job=job.id)


@router.get("/scans")
async def list_scans(server: Served) -> ScanList:
    """List open scans, the oldest first."""
    return ScanList(scans=[scan.row() for scan in server.store.scans()])


@router.get("/scans.csv", response_class=Response, responses=file_answer("text/csv", "One row a scan, one column a finding."))
async def scans_table(server: Served) -> Response:
    """Return the list of open scans as a table."""
    rows = [scan.row() for scan in server.store.scans()]
    names = list(dict.fromkeys(name for row in rows for name in row.findings or {}))
    lines: list[list[object]] = [["scan", "label", "state", *names]]
    for row in rows:
        values = row.findings or {}
        lines.append([row.id, row.series_label, row.state, *(f"{values[name]:.6g}" if name in values else "" for name in names)])
    return Response(csv_text(lines), media_type="text/csv")


@router.get("/scans/{scan}")
async def scan_detail(scan: ScanId, server: Served) -> ScanDetail:
    """Describe an open scan, with its findings, conversation and verdicts so far."""
    opened = server.store.scan(scan)
    facts = opened.facts
    document = None if opened.findings is None else opened.findings.document
    calibration = None if document is None else document["calibration"]
    return ScanDetail(
        id=opened.id,
        state=opened.state,
        error=opened.error,
        series_label=opened.label,
        opened_at=opened.opened_at,
        job=opened.job,
        shape=None if facts is None else facts["shape"],
        spacing_mm=None if facts is None else facts["spacing"],
        affine_ras=None if facts is None else preview_affine(facts),
        affine_full_ras=None if facts is None else to_ras(facts["affine"]).tolist(),
        hu_range=None if facts is None else facts["hu_range"],
        warnings=_warnings(opened, document),
        coverage=None if calibration is None else calibration["coverage"],
        provenance=None if facts is None else facts["provenance"],
        findings=opened.rows(),
        maps=list(opened.latest_map),
        conversation=opened.conversation,
        verdicts=opened.verdicts,
    )


@router.delete("/scans/{scan}", status_code=204)
async def close_scan(scan: ScanId, server: Served) -> None:
    """Close a scan: cancel its jobs, and delete all that was made of it."""
    server.close_scan(server.store.scan(scan))


@router.get(
    "/scans/{scan}/volume.nii.gz", response_class=FileResponse, responses=file_answer("application/gzip", "int16 HU with a RAS affine.")
)
async def volume(scan: ScanId, server: Served, max: Annotated[int, Query(ge=16, le=4096)] = PREVIEW) -> FileResponse:
    """Return the voxels: every n-th, so that no axis has more than `max`; all of them with `max=4096`."""
    opened = server.store.ready_scan(scan)
    path = await asyncio.to_thread(volume_nifti, opened.volume_folder, max)
    return FileResponse(path, media_type="application/gzip")


@router.get("/scans/{scan}/slices/{axis}/{k}.png", response_class=Response, responses=file_answer("image/png", "One pixel a voxel."))
async def slice_picture(scan: ScanId, axis: Axis, k: int, server: Served, window: Annotated[Window, Query()]) -> Response:
    """Draw a slice in the radiological convention; `k` counts voxels of the full resolution from the right, the front or the feet."""
    opened = server.store.ready_scan(scan)
    picture = await asyncio.to_thread(slice_png, opened.volume_folder, axis, k, level=window.level, width=window.width)
    return Response(picture, media_type="image/png")


def _count(store: ScanStore, scan: OpenScan) -> Callable[[int], None]:
    """Count bytes of an upload against the limit of the disk."""

    def count(size: int) -> None:
        store.reserve(size)
        scan.size += size

    return count


def _warnings(scan: OpenScan, document: dict[str, Any] | None) -> list[str]:
    """List each warning of the upload, the reader and the model once."""
    if scan.facts is None:
        return list(scan.notes)
    tags, provenance = scan.facts["tags"], scan.facts["provenance"]
    sentences = [*scan.notes, *tags["warnings"], *provenance["notes"], *([] if document is None else document["warnings"])]
    return list(dict.fromkeys(sentences))
