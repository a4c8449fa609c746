"""Responses as servers send them, from bytes alone."""

from __future__ import annotations

import http.client
import io
import json

import pytest

from thoracle.inference.llm.answer_stream import AnswerEvent, AnswerInterrupted, ServerMessage, quote_reason, read_events


def events(body: bytes, timeout: float = 5.0) -> list[AnswerEvent]:
    return list(read_events(io.BytesIO(body), timeout=timeout))


def event(**delta: object) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": delta}]}).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def test_words_and_thoughts_come_apart() -> None:
    body = event(reasoning_content="Hm") + event(reasoning="m.") + event(content="Yes") + event(content=None) + event(content="") + DONE
    assert events(body) == [AnswerEvent(thought="Hm"), AnswerEvent(thought="m."), AnswerEvent(text="Yes")]


def test_parts_of_content_are_read() -> None:
    parts = [{"type": "thinking", "thinking": []}, {"type": "text", "text": "Ye"}, {"type": "text", "text": "s"}]
    assert events(event(content=parts) + DONE) == [AnswerEvent(text="Yes", thought="…")]


def test_a_refusal_is_an_answer() -> None:
    assert events(event(content=None, refusal="I cannot.") + DONE) == [AnswerEvent(text="I cannot.")]


def test_a_document_is_one_event() -> None:
    document = {"choices": [{"message": {"content": "Yes", "reasoning_content": None}, "finish_reason": "length"}]}
    assert events(json.dumps(document, indent=2).encode()) == [AnswerEvent(text="Yes", finish="length")]


@pytest.mark.parametrize("body", [b"", b"\n\n", b": ping\n\n", event(content="a"), b"data: {", b"{", event(content="a")[:-2]])
def test_what_ends_early_is_not_whole(body: bytes) -> None:
    with pytest.raises(http.client.IncompleteRead):
        events(body)


def reasoned(finish: str | None) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": {"content": "a"}, "finish_reason": finish}]}).encode() + b"\n\n"


def test_a_server_that_speaks_of_reasons_must_give_one() -> None:
    with pytest.raises(AnswerInterrupted):
        events(reasoned(None) + DONE)
    assert [event.finish for event in events(reasoned(None) + reasoned("stop") + DONE)] == ["", "stop"]
    assert [event.finish for event in events(reasoned("stop") + reasoned(None))] == ["stop", ""]


def test_comments_are_no_words() -> None:
    with pytest.raises(TimeoutError, match="no word for 0 s"):
        events(b": ping\n\n" * 3 + event(content="a") + DONE, timeout=0.0)


def test_a_page_is_a_message_of_the_server() -> None:
    with pytest.raises(ServerMessage, match="a web page in place of an answer: Sign in"):
        events(b"\n<html>\n<title>\nSign\n in</title></html>")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"error": {"message": "a"}}', "a"), (b'{"error": "a"}', "a"), (b'{"message": "a"}', "a"), (b'{"detail": "a"}', "a"),
        (b'{"detail": [{"loc": ["b", 0], "msg": "a"}]}', "b.0: a"),
        (b'{"loc": ["b"], "code": 7}', '{"loc": ["b"], "code": 7}'), (b'[{"error": {"message": "a"}}]', "a"), (b" a\n b ", "a b"),
        (b"<p>a</p>", "a"), (b"\x1b[2Ja\rb", "[2Jab"), (b"", ""), (b"x" * 400, "x" * 300 + "…"),
        (b'{"code": 7}', '{"code": 7}'),
    ],
)  # fmt: skip
def test_reasons_are_found_cleaned_and_shortened(body: bytes, reason: str) -> None:
    assert quote_reason(body) == reason
