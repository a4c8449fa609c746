"""A server in this process, its workers in theirs: on a tiny model, an index of the chest sketch and others, and a language server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import numpy as np
import pytest
from starlette.types import ASGIApp

from tests.http_server import serving as http_server
from tests.language_server import LanguageServer
from thoracle.cohort.reports import Report
from thoracle.inference.demo.assets import write_model, write_scan
from thoracle.inference.model import load
from thoracle.search.indexing import latent_settings
from thoracle.search.open_index import open_index_for_writing
from thoracle.search.record import IndexedVolume, Record
from thoracle.search.slices import png
from thoracle.serving.app import create_app
from thoracle.serving.server import Server
from thoracle.serving.settings import ModelSettings, ServerSettings
from thoracle.types import ABNORMALITIES

TOKEN = "t" * 43
API = "/api/v1"


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny untrained CT-CLIP."""
    return write_model(tmp_path_factory.mktemp("model") / "tiny").path


@pytest.fixture(scope="session")
def sketch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chest of ellipsoids."""
    return write_scan(tmp_path_factory.mktemp("sketch") / "sketch.nii.gz")


@pytest.fixture(scope="session")
def index_dir(model_dir: Path, sketch: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve cases of random latents with reports; the first is called as the sketch's file, which is so at hand."""
    folder, model = tmp_path_factory.mktemp("index"), load(model_dir)
    latents = np.random.default_rng(0).standard_normal((12, model.dim_latent)).astype(np.float32)
    latents /= np.linalg.norm(latents, axis=1, keepdims=True)
    picture = png(np.zeros((8, 8), np.uint8))
    with open_index_for_writing(str(folder / "index"), latent_settings(model, key=None)) as index:
        index.add(
            [
                IndexedVolume(
                    record=Record(
                        volume=sketch.name if k == 0 else f"case_{k}.nii.gz",
                        scan=f"case_{k}",
                        accession=f"case_{k}",
                        patient=f"patient_{k}",
                        report=Report(findings=f"{ABNORMALITIES[k]} is present. Nothing else."),
                        labels=tuple(int(k == label) for label in range(len(ABNORMALITIES))),
                    ),
                    latent_L=latent,
                    thumbnail=picture,
                )
                for k, latent in enumerate(latents)
            ]
        )
    return folder / "index"


@pytest.fixture(scope="session")
def words() -> Iterator[LanguageServer]:
    """A language model's server, which says what a test tells it to."""
    server = LanguageServer()
    with http_server(server):
        yield server


@pytest.fixture
def settings(model_dir: Path, tmp_path: Path) -> ServerSettings:
    """A server's settings, for tests to replace some; its workers need not be started."""
    return ServerSettings(
        models=ModelSettings(detector=model_dir), work=tmp_path / "work", token=TOKEN, allowed_hosts=("server",), devices=("cpu",)
    )


@pytest.fixture(scope="session")
def asked(
    model_dir: Path, index_dir: Path, words: LanguageServer, sketch: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Asked]:
    """A server with all that there is, for the whole session: tests open scans of their own."""
    models = ModelSettings(detector=model_dir, index=str(index_dir), index_model=model_dir, scans=sketch.parent, llm_url=words.address)
    work = tmp_path_factory.mktemp("server") / "work"
    with serving(ServerSettings(models=models, work=work, token=TOKEN, allowed_hosts=("server",), devices=("cpu",))) as running:
        running.ready()
        yield running


@pytest.fixture
def scan(asked: Asked, sketch: Path) -> Iterator[str]:
    """The sketch, open on the session's server."""
    opened = asked.open(sketch.read_bytes())
    yield opened
    asked.client.delete(f"/scans/{opened}")


class Asked:
    """A server in this process on a loop of its own, and a client that has its token."""

    def __init__(self, server: Server, client: SyncClient) -> None:
        self.server, self.client = server, client

    def wait(self, job: str) -> dict[str, Any]:
        """Follow a job until it has ended, and return its status."""
        self.client.get(f"/jobs/{job}/events")
        status: dict[str, Any] = self.client.get(f"/jobs/{job}").json()
        return status

    def done(self, answer: httpx.Response) -> None:
        """Wait for the job that was accepted, which must succeed."""
        assert answer.status_code == 202, answer.text
        status = self.wait(answer.json()["job"])
        assert status["state"] == "done", status

    def open(self, content: bytes, content_type: str = "application/octet-stream") -> str:
        """Open a scan, and wait until it is read."""
        answer = self.client.post("/scans", content=content, headers={"Content-Type": content_type})
        self.done(answer)
        return str(answer.json()["scan"])

    def ready(self) -> None:
        """Wait until the models are loaded."""
        while self.client.get("http://server/readyz").status_code != 200:
            assert self.server.board.problem is None, self.server.board.problem
            time.sleep(0.05)


class SyncClient:
    """Speaks with an application on a loop that runs in another thread."""

    def __init__(self, app: ASGIApp, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        self._client = httpx.AsyncClient(transport=self.transport, base_url=f"http://server{API}", headers=headers, timeout=120)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self.run(self._client.request(method, path, **options))

    def run(self, coroutine: Coroutine[Any, Any, httpx.Response]) -> httpx.Response:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(120)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.request("POST", path, **options)

    def put(self, path: str, **options: Any) -> httpx.Response:
        return self.request("PUT", path, **options)

    def delete(self, path: str, **options: Any) -> httpx.Response:
        return self.request("DELETE", path, **options)


class LoopTransport(httpx.BaseTransport):
    """Takes requests of a client that waits to the loop of a server."""

    def __init__(self, asked: Asked) -> None:
        self._client = asked.client

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        async def answer() -> httpx.Response:
            content = request.read()
            inner = httpx.Request(request.method, request.url, headers=request.headers, content=content)
            response = await self._client.transport.handle_async_request(inner)
            return httpx.Response(response.status_code, headers=response.headers, content=await response.aread())

        return self._client.run(answer())


@contextmanager
def serving(settings: ServerSettings, *, workers: bool = True) -> Iterator[Asked]:
    """Run a server in a thread; without workers jobs wait for ever."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = Server(settings)

    async def start() -> None:
        server.start()

    if workers:
        asyncio.run_coroutine_threadsafe(start(), loop).result(60)
    try:
        yield Asked(server, SyncClient(create_app(server), loop))
    finally:
        asyncio.run_coroutine_threadsafe(server.close(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
