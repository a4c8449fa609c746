"""A browser, and a real server beside it: the demo's models of seed 0 in int8, an index of two phantoms, and a language server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

from tests.language_server import LanguageServer
from tests.services import require_service
from thoracle.cohort.reports import Report
from thoracle.ct.read import read
from thoracle.inference.model import load
from thoracle.inference.prepare import prepare
from thoracle.phantom.case import PhantomScan, make_patient, plan_cohort
from thoracle.phantom.layout import nifti
from thoracle.phantom.presets import PRESETS
from thoracle.search.indexing import latent_settings
from thoracle.search.open_index import open_index_for_writing
from thoracle.search.record import IndexedVolume, Record
from thoracle.search.slices import contact_strip

if TYPE_CHECKING:  # tests/serving/page skips where it is absent
    from playwright.sync_api import Page

VOCABFINE = Path(__file__).parents[1] / "models" / "vocabfine"
AXE = Path(__file__).parents[3] / "web" / "node_modules" / "axe-core" / "axe.min.js"
#: Scans of the demo's phantoms at seed 0, which were not trained on. Of the first the model reads both findings as present.
EFFUSION_AND_NODULE, OTHER = "valid_281_b", "valid_1_a"
TIMEOUT_MS = 120_000
_FLAGS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Phantom:
    """Hold a phantom's first volume: its file, and which voxels hold which finding."""

    path: Path
    scan: PhantomScan

    def mask(self, number: int) -> np.ndarray:
        """Return the voxels (x, y, z) of a finding, by its number among the labels."""
        return (self.scan.volumes[0].stored.mask >> number) & 1


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    return {**browser_type_launch_args, "executable_path": require_service("chromium"), "args": _FLAGS}


@pytest.fixture(scope="session")
def browser_context_args(browser_context_args: dict[str, Any]) -> dict[str, Any]:
    return {**browser_context_args, "viewport": {"width": 1280, "height": 800}, "permissions": ["clipboard-read", "clipboard-write"]}


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Phantom]:
    """Two scans of the demo's."""
    folder = tmp_path_factory.mktemp("phantoms")
    plans = {plan.name: plan for plan in plan_cohort(3000, seed=0)}
    written = {}
    for name in (EFFUSION_AND_NODULE, OTHER):
        scans = make_patient(plans[name.rsplit("_", 1)[0]], seed=0, preset=PRESETS["tiny"])
        scan = next(scan for scan in scans if scan.name == name)
        volume = scan.volumes[0]
        path = folder / volume.name
        path.write_bytes(nifti(volume.stored.hu, spacing=volume.stored.spacing, origin=volume.stored.origin))
        written[name] = Phantom(path=path, scan=scan)
    return written


@pytest.fixture(scope="session")
def vocabfine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's model in int8, in a folder that may keep latents of prompts."""
    return Path(shutil.copytree(VOCABFINE, tmp_path_factory.mktemp("model") / "vocabfine"))


@pytest.fixture(scope="session")
def index(vocabfine: Path, phantoms: dict[str, Phantom], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both phantoms, with their reports."""
    location, model = tmp_path_factory.mktemp("index") / "index", load(vocabfine, device="cpu")
    with open_index_for_writing(str(location), latent_settings(model, key=None)) as opened:
        for phantom in phantoms.values():
            prepared, name = prepare(read(phantom.path), model.preprocess), phantom.scan.name
            report = Report(findings=phantom.scan.report.findings, impression=phantom.scan.report.impression)
            record = Record(volume=phantom.path.name, scan=name, accession=name, patient=name, report=report, labels=phantom.scan.labels)
            strip = contact_strip(prepared.array, model.preprocess)
            opened.add([IndexedVolume(record=record, latent_L=model.volume_latent(prepared), thumbnail=strip)])
    return location


@pytest.fixture(scope="session")
def address(
    vocabfine: Path, index: Path, phantoms: dict[str, Phantom], words: LanguageServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address that `thoracle serve` prints, with its token."""
    require_service("viewer")
    files = next(iter(phantoms.values())).path.parent
    around = ["--index", str(index), "--index-model", str(vocabfine), "--scans", str(files), "--llm-url", words.address]
    work = str(tmp_path_factory.mktemp("serve") / "work")
    command = [sys.executable, "-m", "thoracle", "serve", "--model", str(vocabfine), *around, "--port", "0", "--work", work]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout is not None
        try:
            printed = next(line for line in server.stdout if "token=" in line)
            yield re.search(r"http\S+", printed)[0]  # type: ignore[index]  # it has a token, so an address
        finally:
            server.terminate()


@pytest.fixture
def opened(page: Page, address: str) -> Iterator[Page]:
    """The page, once the models are loaded; no request leaves this machine, nothing breaks the policy, and no script fails."""
    requests, complaints = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.set_default_timeout(TIMEOUT_MS)
    page.goto(address)
    page.locator("body[data-ready]").wait_for()
    page.locator("#model-line", has_text="phantoms").wait_for()
    yield page
    host = urlsplit(address).netloc
    with httpx.Client(base_url=f"http://{host}/api/v1", headers=token_of(address), timeout=60) as client:
        for scan in client.get("/scans").json()["scans"]:
            client.delete(f"/scans/{scan['id']}")
    assert not [url for url in requests if urlsplit(url).scheme in {"http", "https"} and urlsplit(url).netloc != host]
    assert not [complaint for complaint in complaints if "status of 4" not in complaint]


def open_file(page: Page, path: Path) -> None:
    """Choose a file, or a folder, and wait until it is read and its findings are there."""
    page.set_input_files("#folder-input" if path.is_dir() else "#file-input", path)
    page.locator(".scan-shown", has_text=path.name).locator(".scan-finding").wait_for()
    page.locator(".stage[data-renderer=webgl]").first.wait_for()
    page.locator(".finding").first.wait_for()


@pytest.fixture
def seen(opened: Page, phantoms: dict[str, Phantom]) -> Page:
    """The page with the phantom that has an effusion and a nodule."""
    open_file(opened, phantoms[EFFUSION_AND_NODULE].path)
    return opened


def crosshair(page: Page) -> list[float]:
    """Where the crosshair of the first scan stands, in RAS millimetres."""
    point: list[float] = page.evaluate("thoracle.page.first.mm")
    return point


def token_of(address: str) -> dict[str, str]:
    """The header that a program sends."""
    return {"Authorization": f"Bearer {address.split('token=')[1]}"}
