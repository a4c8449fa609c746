"""A language model behind an OpenAI-compatible server: turns in, words out as they come; knows nothing of scans.

It gets what it is given and no more: redirects are not followed, and the key comes from the environment.
"""

from __future__ import annotations

import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from thoracle.errors import EndpointFailed, InputError
from thoracle.inference.chat.sampling import Sampling
from thoracle.models.chat.prompt import Message

#: Holds the key, where the server asks for one: arguments end up in shell histories.
KEY: Final = "THORACLE_LLM_KEY"
_MOST_BYTES: Final = 1 << 24
_CALL: Final = "evidence"
_HINT: Final = "Check that the server runs; the conversation so far is kept."


class Endpoint:
    """One server's model.

    Args:
        address: base of the server, for example http://localhost:8000/v1.
        model: one of its models.
        timeout: seconds without a word, after which it counts as down.

    Raises:
        InputError: the address is none.
    """

    def __init__(self, address: str, *, model: str, timeout: float = 120.0) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            hint = f"Give for example http://localhost:8000/v1; a key goes into {KEY}."
            raise InputError(f"no address of a server: {address!r:.80}", hint=hint)
        self._url, self._model, self._timeout = address.rstrip("/") + "/chat/completions", model, timeout
        self._opener = urllib.request.build_opener(_NoRedirect)

    def generate(self, messages: Sequence[Message], *, sampling: Sampling) -> Iterator[str]:
        """What the model says to these turns, in pieces.

        Raises:
            EndpointFailed: the server is not there, refuses, falls silent or says what is no answer.
        """
        body = {
            "model": self._model,
            "messages": [turn for message in messages for turn in _turns(message)],
            "stream": True,
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "seed": sampling.seed,
            **({"stop": list(sampling.stop)} if sampling.stop else {}),
        }
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
        if key := os.environ.get(KEY):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self._url, data=json.dumps(body).encode(), headers=headers, method="POST")
        try:
            with self._opener.open(request, timeout=self._timeout) as answer:
                yield from _pieces(answer)
        except urllib.error.HTTPError as error:
            detail = f"answers {error.code} {str(error.reason)[:80]}"
            raise EndpointFailed(detail, hint=f"Check the address, the model's name and {KEY}.", source=self._url) from error
        except (OSError, http.client.HTTPException) as error:
            raise EndpointFailed(f"does not answer ({type(error).__name__}: {str(error)[:80]})", hint=_HINT, source=self._url) from error
        except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
            raise EndpointFailed("says what is no answer of such a server", hint=_HINT, source=self._url) from error


def _turns(message: Message) -> Iterator[Mapping[str, Any]]:
    """Data is the result of a tool that was called: no user's turn, and no system's."""
    if message.role != "tool":
        yield {"role": message.role, "content": message.content}
        return
    call = {"id": "evidence1", "type": "function", "function": {"name": _CALL, "arguments": "{}"}}
    yield {"role": "assistant", "content": "", "tool_calls": [call]}
    yield {"role": "tool", "tool_call_id": call["id"], "name": _CALL, "content": message.content}


def _pieces(answer: Any) -> Iterator[str]:
    read = 0
    for line in iter(lambda: answer.readline(_MOST_BYTES), b""):
        read += len(line)
        if read > _MOST_BYTES:
            raise ValueError("too long an answer")
        if not line.startswith(b"data:"):
            continue
        data = line.removeprefix(b"data:").strip()
        if data == b"[DONE]":
            return
        choices = json.loads(data)["choices"]
        piece = choices[0].get("delta", {}).get("content") if choices else None
        if piece:
            yield str(piece)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Data goes to the server that was named, and to no other."""

    def redirect_request(self, *_: object, **__: object) -> None:
        """None makes the answer an error."""
