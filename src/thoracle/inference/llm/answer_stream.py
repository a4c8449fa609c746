"""Read the response of an OpenAI-compatible server: a stream of events, or one JSON document where a server does not stream."""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from thoracle.text_safety import terminal_safe

_MOST_BYTES: Final = 1 << 24
_QUOTED: Final = 300
#: Reasons to finish that are none: the server gave up.
_ABORTED: Final = frozenset({"abort", "aborted", "cancelled", "error"})


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerEvent:
    """Hold a part of an answer.

    Attributes:
        text: words of the answer.
        thought: words that the server itself sets apart as the model's reasoning.
        finish: why the answer ends, in the server's word; "" where it goes on.
    """

    text: str = ""
    thought: str = ""
    finish: str = ""


class ServerMessage(Exception):
    """Report a server's own reason, in place of an answer."""


class AnswerInterrupted(http.client.IncompleteRead):
    """Report an answer that a server ends without a reason, though it speaks of reasons: it stopped for another request."""


def read_events(response: Any, *, timeout: float) -> Iterator[AnswerEvent]:
    """Yield the parts of an answer, which is whole where this ends without an error.

    Args:
        response: of http.client, or one that reads alike.
        timeout: seconds between words; comments and empty events are none.

    Raises:
        http.client.IncompleteRead: it ends before the answer does: without a reason why it is finished, or `[DONE]` of a server that
            never speaks of such reasons.
        AnswerInterrupted: `[DONE]` comes without a reason, of a server that speaks of them: llama_cpp.server stops for another request.
        TimeoutError: no words for too long.
        ServerMessage: the server says why there is no answer, or sends a web page.
        ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError: it is no answer of such a server.
        OverflowError: it is longer than an answer can be.
    """
    lines, finished, reasoned, last_word = _lines(response), False, False, time.monotonic()
    for line in lines:
        if line.startswith(b"<"):
            raise ServerMessage(f"a web page in place of an answer: {quote_reason(line + b''.join(lines))}")
        if line.startswith(b"{"):
            yield _document(line + b"".join(lines))
            return
        if line.startswith(b"data:"):
            content = line.removeprefix(b"data:").strip()
            if content == b"[DONE]":
                if reasoned and not finished:
                    raise AnswerInterrupted(b"")
                return
            if not line.endswith(b"\n"):
                break
            document = json.loads(content)
            event = _event(document, "delta")
            finished = finished or bool(event.finish)
            reasoned = reasoned or any("finish_reason" in choice for choice in document["choices"])
            if event.text or event.thought or event.finish:
                last_word = time.monotonic()
                yield event
        if time.monotonic() - last_word > timeout:
            raise TimeoutError(f"no word for {timeout:g} s")
    if not finished:
        raise http.client.IncompleteRead(b"")


def quote_reason(body: bytes) -> str:
    """Return the reason that a server's body gives, escaped and shortened; "" if there is none."""
    text = body.decode("utf-8", "replace")
    try:
        text = _reason(json.loads(text)) or text
    except (ValueError, RecursionError):
        title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
        text = title[1] if title else re.sub(r"<[^>]*>", " ", text)
    words = " ".join(terminal_safe(text).split())
    return words if len(words) <= _QUOTED else f"{words[:_QUOTED]}…"


def _reason(document: Any) -> str:
    """Find the words in the forms that servers give errors: OpenAI's, FastAPI's, and plain ones."""
    if isinstance(document, str):
        return document
    if isinstance(document, list):
        return "; ".join(filter(None, map(_reason, document)))
    if not isinstance(document, dict):
        return ""
    reason = next(filter(None, (_reason(document.get(name)) for name in ("error", "message", "detail", "msg", "reason"))), "")
    return f"{'.'.join(map(str, document['loc']))}: {reason}" if reason and isinstance(document.get("loc"), list) else reason


def _lines(response: Any) -> Iterator[bytes]:
    """Read lines that are not blank, with their ends."""
    size = 0
    for line in iter(lambda: response.readline(_MOST_BYTES + 1), b""):
        size += len(line)
        if size > _MOST_BYTES:
            raise OverflowError(f"an answer of more than {_MOST_BYTES:,} bytes")
        if line.strip():
            yield line


def _document(content: bytes) -> AnswerEvent:
    try:
        document = json.loads(content)
    except ValueError as error:
        raise http.client.IncompleteRead(content) from error
    return _event(document, "message")


def _event(document: Any, part: str) -> AnswerEvent:
    if document.get("error"):
        raise ServerMessage(quote_reason(json.dumps(document).encode()))
    choices = document["choices"]
    if not choices:  # a chunk that counts tokens
        return AnswerEvent()
    message, finish = choices[0].get(part) or choices[0].get("message") or {}, choices[0].get("finish_reason") or ""
    if finish in _ABORTED:
        raise http.client.IncompleteRead(b"")
    text, thought = _words(message.get("content"))
    return AnswerEvent(
        text=text or str(message.get("refusal") or ""),
        thought=thought or str(message.get("reasoning_content") or message.get("reasoning") or ""),
        finish=str(finish),
    )


def _words(content: Any) -> tuple[str, str]:
    """Divide content into answer and thought; some servers send a list of parts."""
    if not isinstance(content, list):
        return str(content or ""), ""
    texts = [part.get("text") or "" for part in content if part.get("type") == "text"]
    return "".join(texts), "" if len(texts) == len(content) else "…"
