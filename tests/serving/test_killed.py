"""A server that is killed at any moment of an upload or a job leaves no process, and the next one starts clean and says what was lost."""

from __future__ import annotations

import json
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from tests.serving.test_start import start

BINARY = {"Content-Type": "application/octet-stream"}


def use(base: str, headers: dict[str, str], content: bytes) -> None:
    """Upload, read findings and map again and again, until the server is gone."""
    with suppress(httpx.HTTPError, KeyError), httpx.Client(base_url=f"{base}/api/v1", headers=headers, timeout=60) as client:
        while True:
            pieces = (content[at : at + 50_000] for at in range(0, len(content), 50_000))
            opened = client.post("/scans", content=pieces, headers=BINARY).json()
            client.get(f"/jobs/{opened['job']}/events")
            findings = client.post(f"/scans/{opened['scan']}/findings").json()
            client.get(f"/jobs/{findings['job']}/events")
            client.post(f"/scans/{opened['scan']}/maps", json={"finding": "Emphysema", "method": "occlusion"})


@pytest.mark.slow
def test_twenty_kills_leave_nothing_behind(model_dir: Path, sketch: Path, tmp_path: Path) -> None:
    work, content, lost_before = tmp_path / "work", sketch.read_bytes(), 0
    for number in range(20):
        process, address = start(model_dir, work)
        with process:
            base, token = address.split("/?token=")
            headers = {"Authorization": f"Bearer {token}"}
            with httpx.Client(base_url=f"{base}/api/v1", headers=headers, timeout=60) as client:
                assert client.get("/scans").json() == {"scans": []}
                lost = [json.loads(line) for line in (work / "audit.jsonl").read_text().splitlines() if '"lost"' in line]
                for entry in lost[lost_before:]:
                    assert client.get(f"/jobs/{entry['job']}").json()["error"]["kind"] == "JobLost"
                lost_before = len(lost)
            assert list((work / "scans").iterdir()) == []
            user = threading.Thread(target=use, args=(base, headers, content), daemon=True)
            user.start()
            time.sleep(0.1 + number * 0.9)  # from the first bytes of an upload to the map, on slow machines too
            children = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGKILL)
        user.join()
        end = time.monotonic() + 60
        while any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children):
            assert time.monotonic() < end, children
            time.sleep(0.05)
    assert lost_before > 0
    process, address = start(model_dir, work)
    with process:
        assert httpx.get(f"{address.split('/?token=')[0]}/healthz", timeout=60).status_code == 200, "it hears signals from then on"
        process.send_signal(signal.SIGTERM)
    assert {path.name for path in work.iterdir()} <= {"audit.jsonl", ".lock"}
