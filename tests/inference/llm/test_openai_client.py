"""What a server does, and what is made of it: an answer that is whole, another attempt, or an error that names the address."""

from __future__ import annotations

import json

import pytest

from tests.language_server import LanguageServer
from thoracle.errors import EndpointFailed, InputError
from thoracle.inference.llm import openai_client
from thoracle.inference.llm.decoding import SamplingOptions
from thoracle.inference.llm.openai_client import KEY, OpenAIClient
from thoracle.models.chat.prompt import Message

TURNS = [Message(role="user", content="Hello")]
SCHEMA = {"type": "object"}


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_client, "_PAUSE", 0.0)


def generate(address: str, timeout: float = 5.0) -> str:
    return "".join(OpenAIClient(address, model="m", timeout=timeout).generate(TURNS, sampling=SamplingOptions()))


def complete(address: str, timeout: float = 5.0) -> str:
    return OpenAIClient(address, model="m", timeout=timeout).complete(TURNS, json_schema=SCHEMA)


@pytest.mark.parametrize("ask", [generate, complete])
def test_a_server_that_is_absent_refuses_or_is_silent_is_an_error(ask, language_server: LanguageServer) -> None:
    with pytest.raises(EndpointFailed, match="does not answer"):
        ask("http://127.0.0.1:1/v1")
    for status in (401, 302):
        language_server.say = lambda _, status=status: (status, "")
        with pytest.raises(EndpointFailed, match=f"answers {status}"):
            ask(language_server.address)


def test_a_stream_that_stalls_or_is_no_answer_is_an_error(language_server: LanguageServer) -> None:
    language_server.silent = 0.6
    with pytest.raises(EndpointFailed, match="does not answer"):
        generate(language_server.address, timeout=0.1)
    language_server.silent, language_server.broken = 0.0, True
    with pytest.raises(EndpointFailed, match="no answer of such a server"):
        generate(language_server.address)


@pytest.mark.parametrize("ask", [generate, complete])
@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_three_times(status: int, ask, language_server: LanguageServer) -> None:
    language_server.say = lambda _: (status if len(language_server.asked) < 3 else 200, "yes")
    assert ask(language_server.address) == "yes"
    assert len(language_server.asked) == 3
    language_server.asked.clear()
    language_server.say = lambda _: (status, "")
    with pytest.raises(EndpointFailed, match=f"answers {status}"):
        ask(language_server.address)
    assert len(language_server.asked) == 3


@pytest.mark.parametrize("address", ["ftp://x", "http://user:secret@host/v1", "nonsense", "http://host/v1?key=secret"])
def test_what_is_no_address_is_refused_and_not_repeated_whole(address: str) -> None:
    with pytest.raises(InputError, match="no address of a server"):
        OpenAIClient(address, model="m")


def test_a_key_goes_into_the_header_and_one_with_a_line_break_nowhere(
    language_server: LanguageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, "secret")
    language_server.words = ["a", "b"]
    assert generate(language_server.address) == "ab"
    assert language_server.headers[0]["Authorization"] == "Bearer secret"
    assert "secret" not in json.dumps(language_server.asked)
    monkeypatch.setenv(KEY, "secret\nX-Other: 1")
    with pytest.raises(InputError, match=KEY) as refused:
        generate(language_server.address)
    assert "secret" not in str(refused.value)


def test_a_whole_answer_of_another_form_is_empty(language_server: LanguageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_client.json, "loads", lambda _: {"choices": []})
    assert complete(language_server.address) == ""
