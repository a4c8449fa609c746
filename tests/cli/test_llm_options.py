"""A server is asked before anything else is read."""

from __future__ import annotations

import pytest

from tests.language_server import LanguageServer
from thoracle.cli.llm_options import open_server
from thoracle.errors import EndpointFailed
from thoracle.inference.llm import openai_client


def test_the_only_model_is_taken_and_said(language_server: LanguageServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert open_server(language_server.address, model=None, timeout=5).model == "m"
    assert capsys.readouterr().err == "The server's model is m.\n"
    assert open_server(language_server.address, model="m", timeout=5).model == "m"
    assert capsys.readouterr().err == ""


def test_plain_http_to_another_machine_is_warned_of_before_it_is_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(*_: object) -> None:
        raise EndpointFailed("is away", hint="Start it.")

    monkeypatch.setattr(openai_client.OpenAIClient, "check", absent)
    with pytest.raises(EndpointFailed, match="is away"):
        open_server("http://gpu.example/v1", model="m", timeout=1)
    assert capsys.readouterr().err.startswith("Warning: gpu.example is asked by plain http")
