"""Ask a language model behind an OpenAI-compatible server, word by word or for a whole answer.

The server gets what it is given and no more: redirects are not followed, and the key comes from the environment.
"""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from thoracle.errors import EndpointFailed, InputError
from thoracle.inference.llm.decoding import SamplingOptions
from thoracle.models.chat.prompt import Message

#: Environment variable of the key, where the server asks for one: arguments end up in shell histories.
KEY: Final = "THORACLE_LLM_KEY"
_MOST_BYTES: Final = 1 << 24
_ATTEMPTS: Final = 3
_BUSY: Final = frozenset({408, 429, 500, 502, 503, 504})
_PAUSE: Final = 1.0  # seconds before the second attempt, doubled before the third
_CALL: Final = "evidence"
_HINT: Final = "Check that the server runs; what is done is kept."


class OpenAIClient:
    """Hold the address and the model of one server. A server that is busy or absent is asked three times.

    Args:
        address: base of the server, for example http://localhost:8000/v1.
        model: name of one of its models.
        timeout: seconds without a word after which the server counts as down.

    Raises:
        InputError: no address, or a key that is no HTTP header.
    """

    def __init__(self, address: str, *, model: str, timeout: float = 120.0) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            hint = f"Give for example http://localhost:8000/v1; a key goes into {KEY}."
            raise InputError(f"no address of a server: {address!r:.80}", hint=hint)
        if not (os.environ.get(KEY) or "key").isprintable():
            raise InputError(f"{KEY} holds a line break or a control character", hint="Set it to the key alone.")
        self.url, self.model, self._timeout = address.rstrip("/") + "/chat/completions", model, timeout
        self._opener = urllib.request.build_opener(_NoRedirect)

    def generate(self, messages: Sequence[Message], *, sampling: SamplingOptions) -> Iterator[str]:
        """Yield the model's answer in pieces, as they come.

        Raises:
            EndpointFailed: the server is not there, refuses, falls silent or sends what is no answer.
        """
        body = {
            "messages": [turn for message in messages for turn in _turns(message)],
            "stream": True,
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "seed": sampling.seed,
            **({"stop": list(sampling.stop)} if sampling.stop else {}),
        }
        try:
            with self._send(body, accept="text/event-stream") as response:
                yield from _pieces(response)
        except (OSError, http.client.HTTPException) as error:
            raise self._silent(error) from error
        except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
            raise EndpointFailed("sends what is no answer of such a server", hint=_HINT, source=self.url) from error

    def complete(self, messages: Sequence[Message], *, json_schema: Mapping[str, Any]) -> str:
        """Return a whole answer, greedily decoded; "" if the server sends what is no answer.

        Args:
            messages: turns of the conversation.
            json_schema: schema of the answer, for servers that can hold a model to one.

        Raises:
            EndpointFailed: the server is not there, refuses or falls silent.
        """
        body = {
            "messages": [turn for message in messages for turn in _turns(message)],
            "temperature": 0,
            "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": json_schema}},
        }
        try:
            with self._send(body, accept="application/json") as response:
                content = json.loads(response.read(_MOST_BYTES))["choices"][0]["message"]["content"]
        except (OSError, http.client.HTTPException) as error:
            raise self._silent(error) from error
        except (ValueError, KeyError, IndexError, TypeError, RecursionError):
            return ""
        return content if isinstance(content, str) else ""

    def _send(self, body: Mapping[str, Any], *, accept: str) -> Any:
        """Open the response, asking again while the server is busy or absent."""
        headers = {"Content-Type": "application/json", "Accept": accept}
        if key := os.environ.get(KEY):
            headers["Authorization"] = f"Bearer {key}"
        content = json.dumps({"model": self.model, **body}).encode()
        for pause in (*(_PAUSE * 2**attempt for attempt in range(_ATTEMPTS - 1)), None):
            request = urllib.request.Request(self.url, data=content, headers=headers, method="POST")
            try:
                return self._opener.open(request, timeout=self._timeout)
            except urllib.error.HTTPError as error:
                if error.code not in _BUSY or pause is None:
                    detail = f"answers {error.code} {str(error.reason)[:80]}"
                    raise EndpointFailed(detail, hint=f"Check the address, the model's name and {KEY}.", source=self.url) from error
            except (OSError, http.client.HTTPException) as error:
                if pause is None:
                    raise self._silent(error) from error
            time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _silent(self, error: Exception) -> EndpointFailed:
        return EndpointFailed(f"does not answer ({type(error).__name__}: {str(error)[:80]})", hint=_HINT, source=self.url)


def _turns(message: Message) -> Iterator[Mapping[str, Any]]:
    """Send data as the return of a tool that was called: no user's turn, and no system's."""
    if message.role != "tool":
        yield {"role": message.role, "content": message.content}
        return
    call = {"id": "evidence1", "type": "function", "function": {"name": _CALL, "arguments": "{}"}}
    yield {"role": "assistant", "content": "", "tool_calls": [call]}
    yield {"role": "tool", "tool_call_id": call["id"], "name": _CALL, "content": message.content}


def _pieces(response: Any) -> Iterator[str]:
    size = 0
    for line in iter(lambda: response.readline(_MOST_BYTES), b""):
        size += len(line)
        if size > _MOST_BYTES:
            raise ValueError("too long an answer")
        if not line.startswith(b"data:"):
            continue
        event = line.removeprefix(b"data:").strip()
        if event == b"[DONE]":
            return
        choices = json.loads(event)["choices"]
        piece = choices[0].get("delta", {}).get("content") if choices else None
        if piece:
            yield str(piece)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Send data to the server that was named, and to no other."""

    def redirect_request(self, *_: object, **__: object) -> None:
        """Return None, which makes the redirect an error."""
