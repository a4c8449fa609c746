"""What a server holds ends with it, and what it is asked for before it is there says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.serving.conftest import Asked, serving
from thoracle.ct.read import read
from thoracle.errors import ModelFolderInvalid, NotReady, UnknownId
from thoracle.serving.server import FoundCases
from thoracle.serving.settings import ModelSettings, ServerSettings
from thoracle.serving.work.results import SeriesRead
from thoracle.serving.work.scan_folder import save_volume


def test_cases_have_one_random_id_each() -> None:
    cases = FoundCases()
    first = cases.id_of(3, "case_3", "a" * 64)
    assert cases.id_of(3, "case_3", "a" * 64) == first != cases.id_of(4, "case_4", "")
    assert cases.record(first) == (3, "case_3", "a" * 64)
    with pytest.raises(UnknownId):
        cases.record("case_3")


def test_what_models_would_do_waits_until_they_are_loaded(settings: ServerSettings) -> None:
    with serving(settings, workers=False) as asked, pytest.raises(NotReady, match="being loaded"):
        asked.server.loaded()


def test_a_model_that_is_none_is_told_to_everybody_who_asks(settings: ServerSettings) -> None:
    broken = replace(settings, models=ModelSettings(detector=settings.work / "nothing"))
    with serving(broken) as asked:
        while asked.server.board.problem is None:
            pass
        with pytest.raises(ModelFolderInvalid):
            asked.server.loaded()
        waiting = asked.client.get("http://server/readyz")
        assert (waiting.status_code, waiting.json()["problem"]["kind"]) == (503, "ModelFolderInvalid")
        assert str(settings.work) not in asked.client.get("/status").text


def test_uploads_and_results_end_with_the_server_and_the_audit_log_stays(settings: ServerSettings) -> None:
    with serving(settings, workers=False) as asked:
        asked.client.post("/scans", content=b"x", headers={"Content-Type": "application/octet-stream"})
        assert list((settings.work / "scans").iterdir())
    assert [path.name for path in settings.work.iterdir()] == ["audit.jsonl"]


def test_series_for_which_there_is_no_room_are_told(settings: ServerSettings, sketch: Path) -> None:
    with serving(replace(settings, open_scans=2), workers=False) as asked:
        scan = asked.server.store.open()
        series = []
        for number in range(4):
            folder = scan.folder / "read" / str(number)
            folder.mkdir(parents=True)
            save_volume(folder, read(sketch))
            series.append(SeriesRead(folder=str(folder), error=None, notes=("1 DICOM series set aside: 1 x scout.",)))
        job = asked.server.read_upload(scan, scan.folder / "upload", {})
        job.result = series
        job.conclude(job)
        assert [row.state for row in asked.server.store.scans()] == ["ready", "ready"]
        left_out = "2 of 4 series were left out: as many scans are open as may be, or the disk is full."
        warnings = asked.client.get(f"/scans/{scan.id}").json()["warnings"]
        assert warnings[:2] == ["1 DICOM series set aside: 1 x scout.", left_out]


def test_a_result_that_nobody_waits_for_is_cancelled(asked: Asked, scan: str) -> None:
    job = asked.client.post(f"/scans/{scan}/maps", json={"finding": "Emphysema", "method": "occlusion"}).json()["job"]
    asked.client.delete(f"/scans/{scan}")
    assert asked.wait(job)["state"] == "cancelled"
