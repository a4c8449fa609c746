"""Ask a language model behind an OpenAI-compatible server, word by word or for a whole answer.

The server gets what it is given and no more: redirects are not followed, and the key comes from the environment.
A whole answer that breaks off is asked for again; of a stream, words have been shown already.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from thoracle.errors import EndpointFailed, InputError
from thoracle.inference.llm.decoding import SamplingOptions
from thoracle.models.chat.prompt import Message

T = TypeVar("T")

#: Environment variable of the key, where the server asks for one: arguments end up in shell histories.
KEY: Final = "THORACLE_LLM_KEY"
_MOST_BYTES: Final = 1 << 24
_ATTEMPTS: Final = 3
_BUSY: Final = frozenset({408, 429, 500, 502, 503, 504})
_PAUSE: Final = 1.0  # seconds before the second attempt, doubled before the third
_CALL: Final = "evidence"
_STREAM: Final = "text/event-stream"
_HINT: Final = "Check that the server runs; what is done is kept."
_MALFORMED: Final = (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError)


class OpenAIClient:
    """Hold the address and the model of one server. A server that is busy or absent, or breaks off a whole answer, is asked three times.

    Args:
        address: base of the server, for example http://localhost:8000/v1.
        model: name of one of its models.
        timeout: seconds without a word after which the server counts as down.

    Raises:
        InputError: no address, or a key that is no HTTP header.
    """

    def __init__(self, address: str, *, model: str, timeout: float = 120.0) -> None:
        if reason := _reject_address(address):
            hint = f"Give for example http://localhost:8000/v1; a key goes into {KEY}."
            shown = re.split("[?#]", re.sub("//.*@", "//…@", address))[0]  # passwords and keys are not repeated
            raise InputError(f"no address of a server: {shown!r:.80} {reason}", hint=hint)
        self._key = os.environ.get(KEY, "")
        if not (self._key.isascii() and self._key.isprintable()):
            raise InputError(f"{KEY} holds more than printable ASCII characters", hint="Set it to the key alone.")
        self.url, self.model, self._timeout = address.rstrip("/") + "/chat/completions", model, timeout
        self._opener = urllib.request.build_opener(_NoRedirect)

    def generate(self, messages: Sequence[Message], *, sampling: SamplingOptions) -> Iterator[str]:
        """Yield the model's answer in pieces, as they come.

        Raises:
            EndpointFailed: the server is not there, refuses, falls silent, breaks off or sends what is no answer.
        """
        try:
            with self._request(_stream_body(messages, sampling), accept=_STREAM, read=lambda response: response) as response:
                yield from _pieces(response)
        except (OSError, http.client.HTTPException) as error:
            raise self._failure(error) from error
        except _MALFORMED as error:
            raise self._no_answer() from error

    def generate_whole(self, messages: Sequence[Message], *, sampling: SamplingOptions) -> Iterator[str]:
        """Yield the model's answer as one piece, once it is whole; it streams from the server, so that a slow one is not taken for down.

        Raises:
            EndpointFailed: as `generate`, for the third time where the server breaks off.
        """
        try:
            yield self._request(_stream_body(messages, sampling), accept=_STREAM, read=_read_stream)
        except _MALFORMED as error:
            raise self._no_answer() from error

    def complete(self, messages: Sequence[Message], *, json_schema: Mapping[str, Any]) -> str:
        """Return a whole answer, greedily decoded; "" if the server sends JSON that is no answer.

        Args:
            messages: turns of the conversation.
            json_schema: schema of the answer, for servers that can hold a model to one.

        Raises:
            EndpointFailed: the server is not there, refuses, falls silent, or breaks off for the third time.
        """
        body = {
            "messages": [turn for message in messages for turn in _turns(message)],
            "temperature": 0,
            "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": json_schema}},
        }
        try:
            content = self._request(body, accept="application/json", read=_read_json)["choices"][0]["message"]["content"]
        except _MALFORMED:
            return ""
        return content if isinstance(content, str) else ""

    def _request(self, body: Mapping[str, Any], *, accept: str, read: Callable[[Any], T]) -> T:
        """Read the response, asking again while the server is busy or absent, or breaks off what `read` wants whole."""
        headers = {"Content-Type": "application/json", "Accept": accept}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        content = json.dumps({"model": self.model, **body}).encode()
        for pause in (*(_PAUSE * 2**attempt for attempt in range(_ATTEMPTS - 1)), None):
            request = urllib.request.Request(self.url, data=content, headers=headers, method="POST")
            try:
                return read(self._opener.open(request, timeout=self._timeout))
            except urllib.error.HTTPError as error:
                if error.code not in _BUSY or pause is None:
                    detail = f"answers {error.code} {str(error.reason)[:80]}"
                    raise EndpointFailed(detail, hint=f"Check the address, the model's name and {KEY}.", source=self.url) from error
            except (OSError, http.client.HTTPException) as error:
                if pause is None:
                    raise self._failure(error) from error
            time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _failure(self, error: Exception) -> EndpointFailed:
        if isinstance(error, http.client.IncompleteRead):
            return EndpointFailed("sends an answer that is not whole", hint=_HINT, source=self.url)
        return EndpointFailed(f"does not answer ({type(error).__name__}: {str(error)[:80]})", hint=_HINT, source=self.url)

    def _no_answer(self) -> EndpointFailed:
        return EndpointFailed("sends what is no answer of such a server", hint=_HINT, source=self.url)


def _reject_address(address: str) -> str:
    """Say why an address is none of a server; "" for one that is."""
    if not (address.isascii() and address.isprintable()) or " " in address:
        return "holds a blank, or more than printable ASCII characters"
    try:
        parts = urlsplit(address)
        port, _ = parts.port, (parts.hostname or "").encode("idna")
    except ValueError as error:
        return f"is not of the form ({error})"
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        return "lacks http:// or https:// with a host"
    if parts.username is not None or parts.query or parts.fragment:
        return "holds more than scheme, host, port and path"
    return ""


def _stream_body(messages: Sequence[Message], sampling: SamplingOptions) -> dict[str, Any]:
    return {
        "messages": [turn for message in messages for turn in _turns(message)],
        "stream": True,
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "seed": sampling.seed,
        **({"stop": list(sampling.stop)} if sampling.stop else {}),
    }


def _turns(message: Message) -> Iterator[Mapping[str, Any]]:
    """Send data as the return of a tool that was called: no user's turn, and no system's."""
    if message.role != "tool":
        yield {"role": message.role, "content": message.content}
        return
    call = {"id": "evidence1", "type": "function", "function": {"name": _CALL, "arguments": "{}"}}
    yield {"role": "assistant", "content": "", "tool_calls": [call]}
    yield {"role": "tool", "tool_call_id": call["id"], "name": _CALL, "content": message.content}


def _read_json(response: Any) -> Any:
    """Raise IncompleteRead where an answer is no JSON to its end: `read(n)` does not mind bytes that were announced and did not come."""
    with response:
        content = response.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise _too_long(response)
    try:
        return json.loads(content)
    except ValueError as error:
        raise http.client.IncompleteRead(content) from error


def _read_stream(response: Any) -> str:
    with response:
        return "".join(_pieces(response))


def _pieces(response: Any) -> Iterator[str]:
    """Raise IncompleteRead where the stream ends before the answer does: without `[DONE]`, and without a reason why it is finished."""
    size, finished = 0, False
    for line in iter(lambda: response.readline(_MOST_BYTES + 1), b""):
        size += len(line)
        if size > _MOST_BYTES:
            raise _too_long(response)
        if not line.startswith(b"data:"):
            continue
        event = line.removeprefix(b"data:").strip()
        if event == b"[DONE]":
            return
        if not line.endswith(b"\n"):
            break
        choices = json.loads(event)["choices"]
        piece = choices[0].get("delta", {}).get("content") if choices else None
        if piece:
            yield str(piece)
        finished = finished or bool(choices and choices[0].get("finish_reason"))
    if not finished:
        raise http.client.IncompleteRead(b"")


def _too_long(response: Any) -> EndpointFailed:
    detail = f"sends an answer of more than {_MOST_BYTES:,} bytes"
    return EndpointFailed(detail, hint="Check that it is a language model's server.", source=response.url)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Send data to the server that was named, and to no other."""

    def redirect_request(self, *_: object, **__: object) -> None:
        """Return None, which makes the redirect an error."""
