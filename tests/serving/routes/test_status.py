from __future__ import annotations

from tests.serving.conftest import Asked, serving
from thoracle.serving.settings import ServerSettings
from thoracle.types import ABNORMALITIES, RESEARCH_USE
from thoracle.version import __version__


def test_the_status_says_what_is_served(asked: Asked) -> None:
    status = asked.client.get("/status").json()
    assert (status["version"], status["research_use"], status["ready"], status["problem"]) == (__version__, RESEARCH_USE, True, None)
    assert status["model"]["findings"] == list(ABNORMALITIES)
    assert (status["model"]["methods"], status["model"]["trained"], status["regions"]) == (["gradient", "occlusion"], False, False)
    assert status["index"] == {"records": 12, "read_only": False, "tasks": ["text", "report", "keyword", "scan"]}
    assert status["chat"]["grounded"] == "always"
    assert status["limits"]["scans"] == 50


def test_a_server_that_loads_says_so(settings: ServerSettings) -> None:
    with serving(settings, workers=False) as asked:
        status = asked.client.get("/status").json()
        assert (status["ready"], status["model"], status["index"], status["chat"]) == (False, None, None, None)
