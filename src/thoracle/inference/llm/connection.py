"""Reach one server over HTTP: its address and key, its sockets, and what its refusals and silences mean.

The server gets what it is given and no more: redirects are not followed, and the key comes from the environment.
"""

from __future__ import annotations

import http.client
import os
import re
import socket
import urllib.error
import urllib.request
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

from thoracle.errors import AnswerFailed, EndpointFailed, InputError
from thoracle.inference.llm.answer_stream import quote_reason
from thoracle.text_safety import terminal_safe

#: Environment variable of the key, where the server asks for one: arguments end up in shell histories.
KEY: Final = "THORACLE_LLM_KEY"
HINT: Final = "Check that the server runs; what is done is kept."
#: What one request is refused for, and another may not be.
REQUEST: Final = frozenset({400, 413, 422})
BUSY: Final = frozenset({408, 429, 500, 502, 503, 504, 529})
_LIMITED: Final = 429


class ServerBusy(Exception):
    """Report a failure that may pass, and the seconds after which the server wants to be asked again."""

    def __init__(self, error: EndpointFailed, *, seconds: float = 0.0) -> None:
        super().__init__(str(error))
        self.error, self.seconds = error, seconds


class ServerConnection:
    """Send requests to one server; `close` ends those under way, from any thread.

    Attributes:
        base: address of the server.
        timeout: seconds for the connection, and without a word.
        closed: whether `close` was called.

    Raises:
        InputError: no address, a key that is no HTTP header, or no time at all.
    """

    def __init__(self, address: str, *, timeout: float) -> None:
        if reason := _reject_address(address):
            hint = f"Give for example http://localhost:8000/v1; a key goes into {KEY}."
            shown = re.split("[?#]", re.sub("//.*@", "//…@", address))[0]  # passwords and keys are not repeated
            raise InputError(f"no address of a server: {shown!r:.80} {reason}", hint=hint)
        self._key = os.environ.get(KEY, "")
        if not (self._key.isascii() and self._key.isprintable()):
            raise InputError(f"{KEY} holds more than printable ASCII characters", hint="Set it to the key alone.")
        if not 0 < timeout < float("inf"):
            raise InputError(f"a timeout of {timeout:g} s", hint="Give a number of seconds above 0.")
        self.base, self.timeout, self.closed = address.rstrip("/"), timeout, False
        self._sockets: set[socket.socket] = set()
        self._opener = urllib.request.build_opener(_NoRedirect(), _Handler(self._sockets))

    @property
    def warning(self) -> str:
        """Warn of words that travel unencrypted to another machine; "" where none do."""
        parts = urlsplit(self.base)
        host = parts.hostname or ""
        if parts.scheme == "https" or host in {"localhost", "::1"} or host.startswith("127."):
            return ""
        return f"{host} is asked by plain http: what is sent there, reports too, can be read on the way. Give https:// if it has it."

    def open(self, path: str, content: bytes | None = None, *, timeout: float | None = None) -> Any:
        """Send a request, with or without content, and return the response.

        Raises:
            urllib.error.HTTPError: the server refuses.
            OSError, http.client.HTTPException: it is not there, or sends no HTTP.
        """
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream, application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(self.base + path, data=content, headers=headers)
        return self._opener.open(request, timeout=timeout or self.timeout)

    def close(self) -> None:
        """Stop all answers under way, so that the server stops working on them."""
        self.closed = True
        for connection in tuple(self._sockets):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def read_reason(self, error: urllib.error.HTTPError) -> str:
        """Quote why the server refused, without the key."""
        with suppress(OSError, http.client.HTTPException), error:
            return self.without_key(quote_reason(error.read(1 << 16)))
        return ""

    def without_key(self, text: str) -> str:
        """Return a server's words without the key, which some repeat."""
        return text.replace(self._key, "…") if self._key else text

    def refusal(self, error: urllib.error.HTTPError, reason: str, *, source: str) -> Exception:
        """Make the error of a server's refusal: `ServerBusy` where it is only busy."""
        detail = f"answers {error.code} {str(error.reason)[:80]}" + (f": {reason}" if reason else "")
        hint = f"Check the address, the model's name and {KEY}."
        if error.code in BUSY:
            kind = EndpointFailed if error.code == _LIMITED else AnswerFailed
            return ServerBusy(kind(detail, hint=HINT, source=source), seconds=_retry_after(error.headers.get("Retry-After")))
        return (AnswerFailed if error.code in REQUEST else EndpointFailed)(detail, hint=hint, source=source)


def silence(error: Exception, *, source: str) -> EndpointFailed:
    """Make the error of a server that does not answer, or whose answer breaks off."""
    if isinstance(error, http.client.IncompleteRead):
        return AnswerFailed("sends an answer that is not whole", hint=HINT, source=source)
    silent = isinstance(error, TimeoutError) or isinstance(getattr(error, "reason", None), TimeoutError)
    kind = AnswerFailed if isinstance(error, TimeoutError | ConnectionResetError | http.client.HTTPException) else EndpointFailed
    hint = "Give a larger --timeout if it is only slow; what is done is kept." if silent else HINT
    return kind(f"does not answer ({type(error).__name__}: {terminal_safe(str(error))[:80]})", hint=hint, source=source)


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


def _retry_after(header: str | None) -> float:
    """Read Retry-After, in seconds or as a date; 0 where there is none."""
    try:
        return max(0.0, float(header or 0))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(header or "") - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0


class _Handler(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    """Open connections whose sockets are known, so that another thread can end them."""

    def __init__(self, sockets: set[socket.socket]) -> None:
        super().__init__()
        self._sockets = sockets

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_HttpConnection, self._sockets), request)

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_HttpsConnection, self._sockets), request)


class _HttpConnection(http.client.HTTPConnection):
    def __init__(self, sockets: set[socket.socket], host: str, **settings: Any) -> None:
        super().__init__(host, **settings)
        self._known_sockets = sockets

    def connect(self) -> None:
        super().connect()
        _know(self._known_sockets, self.sock)


class _HttpsConnection(http.client.HTTPSConnection):
    def __init__(self, sockets: set[socket.socket], host: str, **settings: Any) -> None:
        super().__init__(host, **settings)
        self._known_sockets = sockets

    def connect(self) -> None:
        super().connect()
        _know(self._known_sockets, self.sock)


def _know(sockets: set[socket.socket], connection: socket.socket) -> None:
    """Note an open socket, and forget those that are closed."""
    sockets -= {earlier for earlier in tuple(sockets) if earlier.fileno() == -1}
    sockets.add(connection)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Send data to the server that was named, and to no other."""

    def redirect_request(self, *_: object, **__: object) -> None:
        """Return None, which makes the redirect an error."""
