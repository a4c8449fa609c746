"""Only who has the token comes in, by an allowed name, and pages of others change nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from thoracle.serving.access import Gate
from thoracle.serving.settings import ServerSettings

TOKEN = "t" * 43
PASS = {"Authorization": f"Bearer {TOKEN}"}


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with who asks."""
    await PlainTextResponse(scope["who"])(scope, receive, send)


def ask(
    settings: ServerSettings, method: str, path: str, *, host: str = "server:8000", client: str = "10.0.0.9", **options: Any
) -> httpx.Response:
    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(app=Gate(echo, settings=settings), client=(client, 1))
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as asking:
            return await asking.request(method, path, **options)

    return asyncio.run(run())


def cookie(settings: ServerSettings) -> dict[str, str]:
    return {"Cookie": ask(settings, "GET", f"/?token={TOKEN}").headers["set-cookie"].split(";")[0]}


def test_the_token_lets_in_and_its_holder_has_a_name_that_tells_nothing(settings: ServerSettings) -> None:
    answer = ask(settings, "POST", "/api/v1/scans", headers=PASS)
    assert answer.status_code == 200
    assert answer.text.startswith("token-")
    assert TOKEN not in answer.text


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer no"}, {"Authorization": TOKEN}, {"Cookie": "thoracle-8000=x"}, {"Cookie": "\x00=;"}]
)
def test_without_it_nothing_but_health_is_answered(headers: dict[str, str], settings: ServerSettings) -> None:
    refused = ask(settings, "GET", "/api/v1/scans", headers=headers)
    assert refused.status_code == 401
    assert refused.json()["error"]["kind"] == "AccessDenied"
    assert "printed" in refused.json()["error"]["hint"]
    assert ask(settings, "GET", "/healthz", headers=headers).status_code == 200
    assert ask(settings, "GET", "/?token=wrong", headers=headers).status_code == 401


def test_the_address_with_the_token_gives_a_cookie_and_takes_the_token_out_of_the_address(settings: ServerSettings) -> None:
    entered = ask(settings, "GET", f"/?token={TOKEN}")
    assert (entered.status_code, entered.headers["location"]) == (303, "/")
    given = entered.headers["set-cookie"].lower()
    assert "httponly" in given
    assert "samesite=strict" in given
    assert TOKEN not in given
    assert ask(settings, "GET", "/", headers=cookie(settings)).status_code == 200
    assert "secure" in ask(replace(settings, secure=True), "GET", f"/?token={TOKEN}").headers["set-cookie"].lower()


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://server:8000", 200),
        ("http://evil.example", 403),
        ("http://server:8001", 403),
        ("null", 403),
        ("", 403),
        ("server:8000", 403),
    ],
)
def test_a_cookie_changes_something_from_a_page_of_this_server_alone(origin: str, status: int, settings: ServerSettings) -> None:
    headers = {**cookie(settings), **({"Origin": origin} if origin else {})}
    assert ask(settings, "POST", "/api/v1/scans", headers=headers).status_code == status
    assert ask(settings, "GET", "/api/v1/scans", headers=headers).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "server.evil.example:8000", "[::2]"])
def test_another_host_name_is_refused_even_with_the_token(host: str, settings: ServerSettings) -> None:
    assert ask(settings, "GET", "/healthz", host=host, headers=PASS).status_code == 400


def test_a_proxy_is_believed_only_if_it_is_trusted_and_its_pages_only_from_this_host(settings: ServerSettings) -> None:
    behind = replace(settings, proxy="10.0.0.1", user_header="X-User")
    user = {"X-User": "jan\u007f"}
    assert ask(behind, "GET", "/api/v1/scans", client="10.0.0.1", headers={"X-User": "jan"}).text == "jan"
    assert ask(behind, "GET", "/api/v1/scans", client="10.0.0.2", headers={"X-User": "jan"}).status_code == 401
    assert ask(settings, "GET", "/api/v1/scans", client="10.0.0.1", headers={"X-User": "jan"}).status_code == 401
    assert ask(behind, "POST", "/api/v1/scans", client="10.0.0.1", headers={"X-User": "jan"}).status_code == 403
    assert ask(behind, "GET", "/api/v1/scans", client="10.0.0.1", headers=user).text == "jan"


def test_every_answer_says_how_a_browser_is_to_treat_it(settings: ServerSettings) -> None:
    for headers in (PASS, {}):
        answer = ask(settings, "GET", "/", headers=headers)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
