"""What a server does, and what is made of it: an answer that is whole, another attempt, or an error that names the address."""

from __future__ import annotations

import json
import socket
import struct
import threading

import pytest

from tests.language_server import LanguageServer
from tests.serving import serving
from thoracle.errors import EndpointFailed, InputError
from thoracle.inference.llm import openai_client
from thoracle.inference.llm.decoding import SamplingOptions
from thoracle.inference.llm.openai_client import KEY, OpenAIClient
from thoracle.models.chat.prompt import Message

TURNS = [Message(role="user", content="Hello")]
SCHEMA = {"type": "object"}


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that the client would have waited for."""
    seconds: list[float] = []
    monkeypatch.setattr(openai_client, "time", type("Clock", (), {"sleep": seconds.append}))
    return seconds


def generate(address: str, timeout: float = 5.0) -> str:
    return "".join(OpenAIClient(address, model="m", timeout=timeout).generate(TURNS, sampling=SamplingOptions()))


def generate_whole(address: str, timeout: float = 5.0) -> str:
    return "".join(OpenAIClient(address, model="m", timeout=timeout).generate_whole(TURNS, sampling=SamplingOptions()))


def complete(address: str, timeout: float = 5.0) -> str:
    return OpenAIClient(address, model="m", timeout=timeout).complete(TURNS, json_schema=SCHEMA)


EVERY = pytest.mark.parametrize("ask", [generate, generate_whole, complete])
WHOLE = pytest.mark.parametrize("ask", [generate_whole, complete])


@EVERY
def test_a_server_that_is_absent_is_asked_three_times_with_pauses(ask, pauses: list[float]) -> None:
    with pytest.raises(EndpointFailed, match=r"http://127.0.0.1:1/v1/chat/completions: does not answer \(URLError"):
        ask("http://127.0.0.1:1/v1")
    assert pauses == [1.0, 2.0]


@EVERY
@pytest.mark.parametrize("status", [302, 400, 401, 404])
def test_a_server_that_refuses_is_asked_once(status: int, ask, language_server: LanguageServer, pauses: list[float]) -> None:
    language_server.say = lambda _: (status, "")
    with pytest.raises(EndpointFailed, match=f"answers {status}"):
        ask(language_server.address)
    assert (len(language_server.asked), pauses) == (1, [])


@EVERY
@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_three_times(status: int, ask, language_server: LanguageServer, pauses: list[float]) -> None:
    language_server.say = lambda _: (status if len(language_server.asked) < 3 else 200, "yes")
    assert ask(language_server.address) == "yes"
    assert (len(language_server.asked), pauses) == (3, [1.0, 2.0])
    language_server.asked.clear()
    language_server.say = lambda _: (status, "")
    with pytest.raises(EndpointFailed, match=f"answers {status}"):
        ask(language_server.address)
    assert len(language_server.asked) == 3


@WHOLE
def test_an_answer_that_breaks_off_is_asked_for_three_times(ask, language_server: LanguageServer, pauses: list[float]) -> None:
    language_server.say, language_server.cuts = lambda _: (200, "yes"), 2
    assert ask(language_server.address) == "yes"
    assert (len(language_server.asked), pauses) == (3, [1.0, 2.0])
    language_server.asked.clear()
    language_server.cuts = 3
    with pytest.raises(EndpointFailed, match="sends an answer that is not whole"):
        ask(language_server.address)
    assert len(language_server.asked) == 3


@pytest.mark.parametrize("body", [b'{"choices": [{"message": {"content": "ye', b"<html>", b"\xff"])
def test_an_answer_without_a_length_that_is_no_json_is_asked_for_three_times(body: bytes, language_server: LanguageServer) -> None:
    language_server.raw = body
    with pytest.raises(EndpointFailed, match="sends an answer that is not whole"):
        complete(language_server.address)
    assert len(language_server.asked) == 3


def test_a_stream_that_breaks_off_says_so_after_the_words_that_came(language_server: LanguageServer) -> None:
    language_server.words, language_server.cuts = ["a", "b", "c", "d"], 1
    answer = OpenAIClient(language_server.address, model="m").generate(TURNS, sampling=SamplingOptions())
    assert [next(answer), next(answer)] == ["a", "b"]
    with pytest.raises(EndpointFailed, match="sends an answer that is not whole"):
        next(answer)
    assert len(language_server.asked) == 1, "words that were shown cannot be taken back"


WORD = b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n'


@pytest.mark.parametrize(
    "stream",
    [
        WORD + b"data: [DONE]\n\n" + WORD,
        WORD + b"data: [DONE]",
        b": a comment\n\nevent: message\n" + WORD + b'data: {"choices": []}\n\ndata:[DONE]\n\n',
        WORD + b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n',
    ],
    ids=["done", "no line end", "other lines", "finished"],
)
def test_a_stream_ends_where_it_says_so(stream: bytes, language_server: LanguageServer) -> None:
    language_server.raw = stream
    assert generate(language_server.address) == generate_whole(language_server.address) == "a"


@pytest.mark.parametrize("stream", [WORD, WORD + WORD[:20], b""], ids=["no end", "half a line", "nothing"])
def test_a_stream_without_its_end_is_not_whole(stream: bytes, language_server: LanguageServer) -> None:
    language_server.raw = stream or b"\n"
    with pytest.raises(EndpointFailed, match="not whole"):
        generate(language_server.address)


@EVERY
def test_an_answer_above_the_limit_is_refused_at_once(ask, language_server: LanguageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_client, "_MOST_BYTES", 1000)
    language_server.say = lambda _: (200, "a" * 900)
    assert ask(language_server.address) == "a" * 900
    language_server.asked.clear()
    language_server.say = lambda _: (200, "a" * 1000)
    with pytest.raises(EndpointFailed, match="sends an answer of more than 1,000 bytes"):
        ask(language_server.address)
    assert len(language_server.asked) == 1


def test_many_short_words_are_above_the_limit_too(language_server: LanguageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_client, "_MOST_BYTES", 1000)
    language_server.words = ["a"] * 30
    with pytest.raises(EndpointFailed, match="more than 1,000 bytes"):
        generate(language_server.address)


def test_a_stream_that_stalls_or_is_no_answer_is_an_error(language_server: LanguageServer) -> None:
    language_server.silent = 0.6
    with pytest.raises(EndpointFailed, match="does not answer"):
        generate(language_server.address, timeout=0.1)
    language_server.silent, language_server.broken = 0.0, True
    for ask in (generate, generate_whole):
        with pytest.raises(EndpointFailed, match="no answer of such a server"):
            ask(language_server.address)


@pytest.mark.parametrize("event", ['{"error": "busy"}', '{"choices": [{"delta": null}]}', '{"choices": ["a"]}', "[]", "[" * 100_000])
def test_events_of_another_form_are_no_answer(event: str, language_server: LanguageServer) -> None:
    language_server.raw = f"data: {event}\n\n".encode()
    with pytest.raises(EndpointFailed, match="no answer of such a server"):
        generate(language_server.address)


@pytest.mark.parametrize(
    "content", ["{}", '{"choices": []}', '{"choices": [{"message": null}]}', "[]", '{"choices": "a"}', "[" * 100_000 + "]" * 100_000]
)
def test_a_whole_answer_of_another_form_is_empty(content: str, language_server: LanguageServer) -> None:
    language_server.raw = content.encode()
    assert complete(language_server.address) == ""
    assert len(language_server.asked) == 1


@pytest.mark.parametrize(
    "address",
    [
        "ftp://x",
        "http://user:secret@host/v1",
        "nonsense",
        "http://host/v1?key=secret",
        "http://host/v1#secret",
        "http://host name/v1",
        " http://host/v1",
        "http://host/v1\n",
        "http://höst/v1",
        "http://host/ü",
        "http://[::1/v1",
        "http://::1]/v1",
        "http://host:99999/v1",
        "http://host:0/v1",
        "http://host:port/v1",
        "http://a..b/v1",
        f"http://{'a' * 64}/v1",
        "http:///v1",
        "",
    ],
)
def test_what_is_no_address_is_refused_and_not_repeated_whole(address: str) -> None:
    with pytest.raises(InputError, match="no address of a server") as refused:
        OpenAIClient(address, model="m")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("address", ["http://[::1]:8000/v1", "https://host.example:443/v1/", "http://10.0.0.1", "http://host:/v1"])
def test_what_is_an_address_is_taken(address: str) -> None:
    assert OpenAIClient(address, model="m").url == address.rstrip("/") + "/chat/completions"


def test_a_key_goes_into_the_header_and_nowhere_else(language_server: LanguageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    language_server.words = ["a", "b"]
    monkeypatch.delenv(KEY, raising=False)
    assert generate(language_server.address) == "ab"
    assert "Authorization" not in language_server.headers[0]
    monkeypatch.setenv(KEY, "secret")
    assert generate(language_server.address) == "ab"
    assert language_server.headers[1]["Authorization"] == "Bearer secret"
    assert "secret" not in json.dumps(language_server.asked)


@pytest.mark.parametrize("key", ["secret\nX-Other: 1", "secret\x7f", "secrét", "secret\u20ac", "\ud800secret"])
def test_a_key_that_is_no_header_is_refused_unseen_before_anything_is_sent(
    key: str, language_server: LanguageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(openai_client.os.environ, KEY, key.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=KEY) as refused:
        generate(language_server.address)
    assert "secr" not in str(refused.value)
    assert not language_server.asked


def test_a_client_that_hangs_up_leaves_the_tests_server_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    server, asked, gone = LanguageServer(), threading.Event(), threading.Event()
    server.daemon_threads = False  # so that the end of the server waits for the handler

    def say(_: object) -> tuple[int, str]:
        asked.set()
        gone.wait(10)
        return 200, "a" * (1 << 22)

    server.say = say
    with serving(server):
        client = socket.create_connection(server.server_address)
        client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")
        assert asked.wait(10)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a close resets the connection
        client.close()
        gone.set()
    assert capfd.readouterr().err == ""
