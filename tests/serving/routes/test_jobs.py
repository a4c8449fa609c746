"""Jobs can be followed and cancelled; those of a server before are told to be lost."""

from __future__ import annotations

import json

from tests.serving.conftest import Asked, serving
from thoracle.serving.jobs.journal import JobJournal
from thoracle.serving.settings import ServerSettings

BINARY = {"Content-Type": "application/octet-stream"}


def test_a_job_is_followed_to_its_end(asked: Asked, scan: str) -> None:
    job = asked.client.post(f"/scans/{scan}/findings").json()["job"]
    blocks = asked.client.get(f"/jobs/{job}/events").text.strip().split("\n\n")
    states = [json.loads(block.split("data: ")[1])["state"] for block in blocks]
    assert states[-1] == "done"
    assert set(states) <= {"queued", "running", "done"}
    status = asked.client.get(f"/jobs/{job}").json()
    assert (status["kind"], status["scan"], status["state"], status["place"]) == ("findings", scan, "done", 0)


def test_a_job_that_waits_has_a_place_and_is_cancelled_at_once(settings: ServerSettings) -> None:
    with serving(settings, workers=False) as asked:
        jobs = [asked.client.post("/scans", content=b"x", headers=BINARY).json()["job"] for _ in range(2)]
        assert [asked.client.get(f"/jobs/{job}").json()["place"] for job in jobs] == [1, 2]
        cancelled = asked.client.delete(f"/jobs/{jobs[0]}").json()
        assert (cancelled["state"], cancelled["error"]["kind"]) == ("cancelled", "JobCancelled")
        assert asked.client.get(f"/jobs/{jobs[1]}").json()["place"] == 1
        assert asked.client.delete(f"/jobs/{jobs[0]}").json()["state"] == "cancelled"
        assert asked.client.get("/scans").json()["scans"][0]["state"] == "refused"


def test_a_job_that_a_killed_server_did_not_finish_is_lost(settings: ServerSettings) -> None:
    settings.work.mkdir()
    JobJournal(settings.work).begin("lostlostlostlost", kind="map", scan="scan")
    with serving(settings, workers=False) as asked:
        status = asked.client.get("/jobs/lostlostlostlost").json()
        assert (status["state"], status["error"]["kind"]) == ("failed", "JobLost")
        assert asked.client.get("/jobs/lostlostlostlost/events").text.count("event: job") == 1
        assert asked.client.get("/jobs/nobody").status_code == 404
    assert '"action": "lost"' in (settings.work / "audit.jsonl").read_text()
