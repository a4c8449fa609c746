"""Read findings of a scan, and keep what a person says of them."""

from __future__ import annotations

import json

from fastapi import APIRouter
from fastapi.responses import Response

from thoracle.client.forms.scans import FindingRow, ScanFindings, VerdictRequest
from thoracle.client.forms.service import JobAccepted
from thoracle.errors import NotReady
from thoracle.files.csv_text import csv_text
from thoracle.serving.jobs.job import Job
from thoracle.serving.report import report_page
from thoracle.serving.routes.paths import ROUTER, FindingName, ScanId, Served, file_answer
from thoracle.serving.scan_store import OpenScan
from thoracle.serving.server import check_finding
from thoracle.serving.work.results import MODELS, FindingsRead

router = APIRouter(**ROUTER, tags=["findings"])


@router.post("/scans/{scan}/findings", status_code=202)
async def read_findings(scan: ScanId, server: Served) -> JobAccepted:
    """Start to read the findings of a scan."""
    opened = server.store.ready_scan(scan)
    server.loaded()

    def keep(job: Job) -> None:
        if job.result is not None:
            opened.findings = job.result

    job = server.board.submit("findings", lane=MODELS, scan=opened.id, arguments={"scan": str(opened.volume_folder)}, conclude=keep)
    opened.job = job.id
    return JobAccepted(job=job.id)


@router.get("/scans/{scan}/findings")
async def findings(scan: ScanId, server: Served) -> ScanFindings:
    """Return findings as `thoracle detect --json` writes them, each with its threshold, its verdict in a sentence, and a person's."""
    opened = server.store.ready_scan(scan)
    document = _read(opened).document
    return ScanFindings(**{**document, "findings": opened.rows()})


@router.get(
    "/scans/{scan}/findings.json", response_class=Response, responses=file_answer("application/json", "As `thoracle detect --json` writes.")
)
async def findings_file(scan: ScanId, server: Served) -> Response:
    """Download findings as `thoracle detect --json` writes them."""
    text = json.dumps(_read(server.store.ready_scan(scan)).document, indent=2) + "\n"
    headers = {"Content-Disposition": f'attachment; filename="{scan}.findings.json"'}
    return Response(text, media_type="application/json", headers=headers)


@router.get("/scans/{scan}/report.html", response_class=Response, responses=file_answer("text/html", "A page to print."))
async def report(scan: ScanId, server: Served) -> Response:
    """Return a page to print or to keep: findings with verdicts, where they were read, warnings and provenance."""
    opened = server.store.ready_scan(scan)
    return Response(report_page(opened, _read(opened)), media_type="text/html")


@router.put("/scans/{scan}/verdicts/{finding}", status_code=204)
async def set_verdict(scan: ScanId, finding: FindingName, request: VerdictRequest, server: Served) -> None:
    """Keep whether a person agrees with a finding; null takes it back."""
    opened = server.store.ready_scan(scan)
    check_finding(finding, server.loaded())
    if request.verdict is None:
        opened.verdicts.pop(finding, None)
    else:
        opened.verdicts[finding] = request.verdict


@router.get("/verdicts.csv", response_class=Response, responses=file_answer("text/csv", "One row a scan, one column a finding."))
async def verdicts_table(server: Served) -> Response:
    """Return labels by people's verdicts, as `thoracle evaluate detection` takes them: 1 present, 0 absent, empty for not said.

    To agree is to say what the model does: that a finding is there where its probability is at its threshold, or at 0.5 without one. Of a
    verdict that cannot tell neither says whether the finding is there: it is empty.
    """
    judged = [scan for scan in server.store.scans() if scan.verdicts and scan.findings is not None]
    names = list(dict.fromkeys(row.name for scan in judged for row in scan.rows() or []))
    lines: list[list[object]] = [["VolumeName", *names]]
    for scan in judged:
        labels = {row.name: _label(row) for row in scan.rows() or []}
        lines.append([scan.id, *(labels.get(name, "") for name in names)])
    return Response(csv_text(lines), media_type="text/csv")


def _read(scan: OpenScan) -> FindingsRead:
    if scan.findings is None:
        raise NotReady("the findings are not read yet", hint="POST to them first, and wait for the job.")
    return scan.findings


def _label(row: FindingRow) -> str:
    """Return "1", "0", or "" where nobody said."""
    if row.agreed is None or row.verdict == "cannot tell":
        return ""
    is_present = row.probability >= (0.5 if row.threshold is None else row.threshold)
    return str(int(is_present == (row.agreed == "agree")))
