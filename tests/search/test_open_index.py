"""An index by its location: a folder, a collection of the client's local mode, or one on a server."""

from __future__ import annotations

import builtins
import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.http_server import serving
from thoracle.errors import ExtraMissing, IndexBusy, IndexDamaged, IndexMismatch, IndexMissing, InputError, SearchError
from thoracle.search.local.index import LocalIndex
from thoracle.search.open_index import is_url, open_index, open_index_for_writing
from thoracle.search.qdrant.index import QdrantIndex


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("http://host:6333/cases", True),
        ("https://host/above/cases", True),
        ("qdrant:folder/cases", True),
        ("index", False),
        ("/data/index", False),
        ("C:/data/index", False),
        ("ftp://host/cases", False),
        ("", False),
    ],
)
def test_servers_are_told_from_folders_by_their_scheme(location: str, url: bool) -> None:
    assert is_url(location) == url


def test_a_folder_is_made_changed_and_read(tmp_path: Path, settings: dict[str, Any], make) -> None:
    location = str(tmp_path / "index")
    with open_index_for_writing(location, settings) as index:
        assert isinstance(index, LocalIndex)
        index.add([make(1)])
        with pytest.raises(IndexBusy), open_index_for_writing(location):
            pass
    with open_index_for_writing(location) as index:
        index.add([make(2)])
    with open_index(location) as index:
        assert len(index) == 2
        assert {name: index.settings[name] for name in settings} == settings
    with pytest.raises(IndexDamaged, match="closed"):
        len(index)


def test_a_collection_is_made_changed_and_read_and_let_go(tmp_path: Path, settings: dict[str, Any], make) -> None:
    pytest.importorskip("qdrant_client")
    location = f"qdrant:{tmp_path}/server/cases"
    for number in (1, 2):  # the local mode lets one client hold a folder: each must let go of it
        with open_index_for_writing(location, settings if number == 1 else None) as index:
            assert isinstance(index, QdrantIndex)
            index.add([make(number)])
    with pytest.raises(IndexMissing), open_index(f"{location}2"):
        pass
    with pytest.raises(IndexMismatch, match="another dim_latent"), open_index_for_writing(location, {**settings, "dim_latent": 9}):
        pass
    with open_index(location) as index:
        assert len(index) == 2
        assert dict(index.settings) == {"schema": "thoracle.index/4", **settings}
    with pytest.raises(RuntimeError, match="closed"):
        len(index)


def test_what_is_not_there_is_not_made_by_reading(tmp_path: Path) -> None:
    for opened in (open_index, open_index_for_writing):
        with pytest.raises(IndexMissing, match=r"holds no index.*thoracle index COHORT"), opened(str(tmp_path / "nowhere")):
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_location_without_a_collection_is_refused() -> None:
    for location in ("http://host:6333", "http://host:6333/", "qdrant:here", "qdrant:/"):
        for opened in (open_index, open_index_for_writing):
            with pytest.raises(InputError, match=r"expected http://HOST:6333/NAME.*after the last slash"), opened(location):
                pass


def test_without_the_client_the_line_that_installs_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name.startswith("qdrant_client"):
            raise ImportError(name)
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ExtraMissing, match=r"pip install 'thoracle\[qdrant\]'"), open_index("http://host:6333/cases"):
        pass


class _Server(ThreadingHTTPServer):
    """Has no collection, and remembers who asked for which."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.log: list[tuple[str, str | None]] = []


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self.server.log.append((self.path, self.headers.get("api-key")))
        content = json.dumps({"result": {"exists": False}, "status": "ok", "time": 0}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[_Server]:
    pytest.importorskip("qdrant_client")
    server = _Server()
    with serving(server):
        yield server


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
def test_a_server_is_asked_at_its_path_with_the_key_of_the_environment(server: _Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDRANT_API_KEY", "secret")
    location = f"http://127.0.0.1:{server.server_port}/above/cases/"
    with pytest.raises(IndexMissing, match=r"has no index of this name.*thoracle index copy") as error, open_index(location):
        pass
    assert error.value.source == "cases"
    assert server.log == [("/above/collections/cases/exists", "secret")]


def test_a_server_that_does_not_answer_is_said() -> None:
    pytest.importorskip("qdrant_client")
    says = r"the server does not do it .*Check its address, its key and that it runs"
    with pytest.raises(SearchError, match=says), open_index("http://127.0.0.1:1/cases"):
        pass


def test_to_open_an_index_and_choose_its_model_imports_no_torch_and_nothing_that_reads_scans() -> None:
    code = (
        "import sys, thoracle.search.open_index, thoracle.search.model_lookup, thoracle.search.lookup\n"
        "print(*sorted({'torch', 'pydicom', 'scipy', 'faiss', 'qdrant_client', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""
