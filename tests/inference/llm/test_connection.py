"""What is an address, a key and a time of a server, and that it gets no more than it is given."""

from __future__ import annotations

import os
import urllib.error
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.http_server import serving
from thoracle.errors import InputError
from thoracle.inference.llm.connection import KEY, ServerConnection


@pytest.mark.parametrize("timeout", [0.0, -1.0, float("nan"), float("inf")])
def test_a_timeout_is_a_time(timeout: float) -> None:
    with pytest.raises(InputError, match="a timeout of"):
        ServerConnection("http://localhost/v1", timeout=timeout)


@pytest.mark.parametrize(("address", "host"), [
    ("http://10.0.0.1/v1", "10.0.0.1"), ("http://gpu.hospital:8000/v1", "gpu.hospital"), ("https://gpu.hospital/v1", ""),
    ("http://localhost:8000/v1", ""), ("http://127.0.0.2/v1", ""), ("http://[::1]/v1", ""),
])  # fmt: skip
def test_plain_http_to_another_machine_is_warned_of(address: str, host: str) -> None:
    warning = ServerConnection(address, timeout=1).warning
    assert warning.startswith(f"{host} is asked by plain http") if host else warning == ""


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
        ServerConnection(address, timeout=1)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("address", ["http://[::1]:8000/v1", "https://host.example:443/v1/", "http://10.0.0.1", "http://host:/v1"])
def test_what_is_an_address_is_taken(address: str) -> None:
    assert ServerConnection(address, timeout=1).base == address.rstrip("/")


@pytest.mark.parametrize("key", ["secret\nX-Other: 1", "secret\x7f", "secrét", "secret\u20ac", "\ud800secret"])
def test_a_key_that_is_no_header_is_refused_unseen(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, KEY, key.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=KEY) as refused:
        ServerConnection("http://localhost/v1", timeout=1)
    assert "secr" not in str(refused.value)


def test_a_redirect_is_an_error_and_not_followed() -> None:
    asked = []

    class Redirects(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            self.send_response(307)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Redirects)
    connection = ServerConnection(f"http://127.0.0.1:{server.server_port}/v1", timeout=5)
    with serving(server), pytest.raises(urllib.error.HTTPError) as refused:
        connection.open("/chat/completions", b"{}")
    assert (refused.value.code, asked) == (307, ["/v1/chat/completions"])
