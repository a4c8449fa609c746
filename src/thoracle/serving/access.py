"""Let in who has the token, by an allowed name, from a page of ours; and send pages with headers that keep them so."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import asdict
from http.cookies import CookieError, SimpleCookie
from secrets import compare_digest
from typing import Any, Final
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from thoracle.client.forms.service import ErrorAnswer
from thoracle.errors import AccessDenied
from thoracle.serving.refusals import error_body
from thoracle.serving.settings import ServerSettings

_OPEN: Final = ("/healthz", "/readyz")
#: The one address that takes large bodies, and counts them itself.
_UPLOADS: Final = "/api/v1/scans"
_MOST_BYTES: Final = 1 << 20
_SAFE: Final = ("GET", "HEAD", "OPTIONS")
_CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": _CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_HINT: Final = "Open the address that `thoracle serve` printed, or send `Authorization: Bearer TOKEN`."


class Gate:
    """Refuse requests before anything of them is read, but their headers.

    A request is let in by the token, by a cookie that only `GET /?token=…` sets, or by the header of a proxy that is believed. What
    changes something and comes with a cookie or by a proxy must come from a page of this host. `scope["who"]` says who asks.
    """

    def __init__(self, app: ASGIApp, *, settings: ServerSettings) -> None:
        self._app, self._settings = app, settings
        self._cookie = hmac.new(settings.token.encode(), b"cookie", hashlib.sha256).hexdigest()
        #: Names the holder of the token in the audit log, and says nothing of it.
        self._who = "token-" + hmac.new(settings.token.encode(), b"audit", hashlib.sha256).hexdigest()[:8]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        answer = self._judge(scope)
        limited = receive if scope["path"] == _UPLOADS else _at_most(receive, _MOST_BYTES)
        await (self._app if answer is None else answer)(scope, limited, send_with_headers)

    def _judge(self, scope: Scope) -> Response | None:
        """Return None where a request is let in, else its answer."""
        headers, method, path = Headers(scope=scope), scope["method"], scope["path"]
        host = headers.get("host", "")
        if _hostname(host) not in self._settings.allowed_hosts:
            return _refusal(400, "the server is not called so", "Use its own name, or start it with --allow-host NAME.")
        scope["who"] = ""
        if path in _OPEN:
            return None
        if path == "/" and method == "GET" and "token" in (query := parse_qs(scope["query_string"].decode("latin-1"))):
            return self._enter(query["token"][0], port=host.rpartition(":")[2])
        return self._identify(scope, headers, host)

    def _identify(self, scope: Scope, headers: Headers, host: str) -> Response | None:
        """Say in `scope["who"]` who asks, and return None; else why nobody may."""
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and _equal(token.strip(), self._settings.token):
            scope["who"] = self._who
            return None
        user = self._proxy_user(scope, headers)
        if not user and not _equal(_cookies(headers).get(self._cookie_name(host), ""), self._cookie):
            return _refusal(401, "no valid token came", _HINT, headers={"WWW-Authenticate": "Bearer"})
        if scope["method"] not in _SAFE and not self._is_own_page(headers, host):
            return _refusal(403, "another page than this server's asks", "Use the page of this server, or a token.")
        scope["who"] = user or self._who
        return None

    def _enter(self, token: str, *, port: str) -> Response:
        """Exchange a token for a cookie, and take it out of the address."""
        if not _equal(token, self._settings.token):
            return _refusal(401, "the token is not valid", _HINT)
        response = Response(status_code=303, headers={"Location": "/"})
        response.set_cookie(
            self._cookie_name(f":{port}"), self._cookie, httponly=True, samesite="strict", secure=self._settings.secure, path="/"
        )
        return response

    def _cookie_name(self, host: str) -> str:
        """Name the cookie by the port: browsers share cookies between ports of a host."""
        port = host.rpartition(":")[2]
        return f"thoracle-{port}" if port.isdecimal() else "thoracle"

    def _is_own_page(self, headers: Headers, host: str) -> bool:
        scheme, separator, origin = headers.get("origin", "").partition("://")
        return bool(separator) and scheme in ("http", "https") and origin == host

    def _proxy_user(self, scope: Scope, headers: Headers) -> str:
        """Return the user whom a believed proxy names, in a form that stands on one line of a log."""
        client = scope.get("client")
        if not self._settings.proxy or client is None or client[0] != self._settings.proxy:
            return ""
        user = headers.get(self._settings.user_header, "")
        return "".join(letter for letter in user if letter.isprintable())[:100]


def _refusal(status: int, detail: str, hint: str, headers: Mapping[str, str] | None = None) -> Response:
    body = ErrorAnswer(error=error_body(AccessDenied(detail, hint=hint)))
    return Response(json.dumps(asdict(body)), status_code=status, media_type="application/json", headers=headers)


def _at_most(receive: Receive, limit: int) -> Receive:
    """Hand on a body of at most so many bytes; a larger one is 413 while it comes."""
    size = 0

    async def receive_counted() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > limit:
            raise HTTPException(413, f"the body has more than {limit:,} bytes")
        return message

    return receive_counted


def _equal(one: str, other: str) -> bool:
    return compare_digest(one.encode("utf-8", "replace"), other.encode())


def _hostname(host: str) -> str:
    """Return a Host header's name, without its port."""
    name, separator, port = host.rpartition(":")
    return (name if separator and port.isdecimal() else host).lower()


def _cookies(headers: Headers) -> dict[str, Any]:
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(headers.get("cookie", "")).items()}
    except CookieError:
        return {}
