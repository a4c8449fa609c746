"""Requests are counted by route; what was done to which scan is noted, and nothing that could be a name."""

from __future__ import annotations

import json
from pathlib import Path

from tests.serving.conftest import serving
from thoracle.serving.observation import AuditLog, RequestCounts, gauge
from thoracle.serving.settings import ServerSettings


def test_who_did_what_to_which_scan_is_noted_without_names(settings: ServerSettings) -> None:
    with serving(settings, workers=False) as asked:
        scan = asked.client.post("/scans", content=b"x", headers={"Content-Type": "application/octet-stream"}).json()["scan"]
        asked.client.get(f"/scans/{scan}?patient=Doe^Jane")
        asked.client.get("/scans/Doe^Jane")
        asked.client.request("BREW", "/Doe^Jane")
        asked.client.get("http://server/healthz")
    text = (settings.work / "audit.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [(line["action"], line["status"], line.get("scan")) for line in lines] == [
        ("POST /api/v1/scans", 202, None),
        ("GET /api/v1/scans/{scan}", 200, scan),
        ("GET /api/v1/scans/{scan}", 404, None),
        ("BREW none", 404, None),
    ]
    assert {line["who"] for line in lines} == {lines[0]["who"]}
    assert "Doe" not in text


def test_a_log_goes_on_and_is_its_owner_s_alone(tmp_path: Path) -> None:
    for number in range(2):
        log = AuditLog(tmp_path / "logs" / "audit.jsonl")
        log.note(who="a", action="b", number=number)
        log.close()
    path = tmp_path / "logs" / "audit.jsonl"
    assert [json.loads(line)["number"] for line in path.read_text().splitlines()] == [0, 1]
    assert path.stat().st_mode & 0o077 == 0


def test_counts_are_lines_that_prometheus_reads() -> None:
    counts = RequestCounts()
    counts.add("GET", "/a", 200, 0.02)
    counts.add("GET", "/a", 404, 2.0)
    lines = list(counts.lines())
    assert 'thoracle_requests_total{method="GET",route="/a",status="404"} 1' in lines
    assert [line for line in lines if 'le="0.01"' in line or 'le="0.03"' in line or "+Inf" in line] == [
        'thoracle_request_seconds_bucket{route="/a",le="0.01"} 0',
        'thoracle_request_seconds_bucket{route="/a",le="0.03"} 1',
        'thoracle_request_seconds_bucket{route="/a",le="+Inf"} 2',
    ]
    assert 'thoracle_request_seconds_sum{route="/a"} 2.020000' in lines
    assert list(gauge("x", {"": 3})) == ["# TYPE x gauge", "x 3"]
    assert list(gauge("x", {"a": 3}, "lane")) == ["# TYPE x gauge", 'x{lane="a"} 3']
