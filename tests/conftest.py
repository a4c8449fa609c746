"""Where the real data is (`THORACLE_DATA`, default `../shared/data`; tests skip, saying so, without it), and a hub on this machine."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import settings

from tests.http_server import serving
from tests.language_server import LanguageServer

settings.register_profile("thoracle", deadline=None)  # what a busy machine takes longer for is no fault
settings.load_profile("thoracle")

_DATA = Path(os.environ.get("THORACLE_DATA") or Path(__file__).parents[1] / ".." / "shared" / "data").resolve()


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real scans, reports and broken files."""
    return _present(_DATA)


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Vectors of the published models' behaviour."""
    return _present(_DATA.parent / "golden")


def _present(folder: Path) -> Path:
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder}; set THORACLE_DATA")
    return folder


@pytest.fixture
def language_server() -> Iterator[LanguageServer]:
    """An OpenAI-compatible server."""
    server = LanguageServer()
    with serving(server):
        yield server


class Hub(ThreadingHTTPServer):
    """Answers as huggingface.co does: repositories by name, each a mapping of path to content; `log` holds what was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.gated: set[str] = set()
        self.cuts = 0  # answers still to be broken off, of those longer than `cut_from`
        self.cut_from = 1000
        self.log: list[tuple[str, str]] = []


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, *, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.log.append((self.command, path))
        parts = path.removeprefix("/api").removeprefix("/datasets").removeprefix("/models").strip("/").split("/")
        repository = "/".join(parts[:2])
        files = self.server.repositories.get(repository)
        if files is None:
            self._send(404, b"", {"X-Error-Code": "RepoNotFound"}, body=body)
        elif repository in self.server.gated:
            self._send(403, b"", {"X-Error-Code": "GatedRepo"}, body=body)
        elif path.startswith("/api"):
            listing = [{"type": "file", "path": name, "size": len(c), "oid": sha256(c).hexdigest()[:40]} for name, c in files.items()]
            self._send(200, json.dumps(listing).encode(), {"Content-Type": "application/json"}, body=body)
        elif (name := "/".join(parts[4:])) not in files:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"}, body=body)
        else:
            self._send_file(files[name], body=body)

    def _send_file(self, content: bytes, *, body: bool) -> None:
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
        headers = {"ETag": f'"{sha256(content).hexdigest()}"', "X-Repo-Commit": "0" * 40, "Accept-Ranges": "bytes"}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._send(206 if start else 200, content[start:], headers, body=body)

    def _send(self, status: int, content: bytes, headers: dict[str, str], *, body: bool) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            cut = self.server.cuts > 0 and len(content) > self.server.cut_from
            self.server.cuts -= cut
            self.wfile.write(content[: self.server.cut_from] if cut else content)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub on this machine, which the library is told of."""
    server = Hub()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    with serving(server):
        yield server
