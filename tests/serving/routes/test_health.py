from __future__ import annotations

from pathlib import Path

import pytest

from tests.serving.conftest import Asked, serving
from thoracle.serving.routes import health
from thoracle.serving.settings import ServerSettings


def test_health_and_readiness_need_no_token(settings: ServerSettings) -> None:
    with serving(settings, workers=False) as asked:
        nobody = {"Authorization": ""}
        assert asked.client.get("http://server/healthz", headers=nobody).json() == {"alive": True}
        waiting = asked.client.get("http://server/readyz", headers=nobody)
        assert (waiting.status_code, waiting.json()) == (503, {"ready": False, "problem": None})
        assert asked.client.get("http://server/metrics", headers=nobody).status_code == 401


def test_metrics_count_what_was_done(asked: Asked, scan: str) -> None:
    asked.client.get("/scans/nobody")
    lines = asked.client.get("http://server/metrics").text.splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert int(values['thoracle_requests_total{method="GET",route="/api/v1/scans/{scan}",status="404"}']) >= 1
    assert int(values['thoracle_jobs_total{kind="read",state="done"}']) >= 1
    assert float(values["thoracle_scans_open"]) >= 1
    assert float(values["thoracle_worker_memory_bytes"]) > 1e6
    assert values["thoracle_worker_restarts_total"] == "0"
    assert asked.client.get("http://server/readyz").json() == {"ready": True, "problem": None}


def test_the_page_is_given_or_said_not_to_be_built(asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "index.html"
    monkeypatch.setattr(health, "_PAGE", page)
    assert "not built here" in asked.client.get("http://server/").text
    page.write_text("<p>here</p>")
    answer = asked.client.get("http://server/")
    assert (answer.text, answer.headers["content-type"].split(";")[0]) == ("<p>here</p>", "text/html")
