"""Whatever is asked, the answer is of one form, and no fault of the server."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.serving.conftest import serving
from thoracle.serving.settings import ServerSettings


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/api/v1/nothing", 404, "UnknownId"),
        ("GET", "/static/../app.py", 404, "UnknownId"),
        ("GET", "/static/%2e%2e/app.py", 404, "UnknownId"),
        ("PATCH", "/api/v1/scans", 405, "ServingError"),
        ("GET", "/api/v1/scans/a/slices/axial/x.png", 422, "InputError"),
        ("POST", "/api/v1/search", 422, "InputError"),
    ],
)
def test_what_no_route_takes_is_refused_in_the_form_of_all_errors(
    method: str, path: str, status: int, kind: str, settings: ServerSettings
) -> None:
    with serving(settings, workers=False) as asked:
        answer = asked.client.request(method, f"http://server{path}")
        assert (answer.status_code, answer.json()["error"]["kind"]) == (status, kind)
        assert set(answer.json()["error"]) == {"kind", "message", "detail", "hint"}


def test_a_value_that_makes_no_sense_is_not_repeated(settings: ServerSettings) -> None:
    with serving(settings, workers=False) as asked:
        assert "Doe" not in asked.client.post("/search", json={"text": ["Doe^Jane"]}).text
        assert "Doe" not in asked.client.post("/search", content=b'{"text": Doe^Jane').text


def test_a_large_body_that_is_no_upload_is_refused_while_it_comes(settings: ServerSettings) -> None:
    with serving(settings, workers=False) as asked:
        refused = asked.client.post("/search", json={"text": "x" * (1 << 21)})
        assert (refused.status_code, refused.json()["error"]["kind"]) == (413, "BudgetExceeded")


def test_a_fault_of_ours_tells_its_class_alone(settings: ServerSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(settings, workers=False) as asked:

        def fail() -> None:
            raise ValueError("Doe^Jane")

        monkeypatch.setattr(asked.server.store, "scans", fail)
        answer = asked.client.get("/scans")
        assert (answer.status_code, answer.json()["error"]["kind"]) == (500, "ValueError")
        assert "Doe" not in answer.text


def test_the_server_loads_no_torch() -> None:
    code = "import sys, thoracle.serving.app, thoracle.serving.start; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
