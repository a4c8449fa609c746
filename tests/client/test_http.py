"""A program does by a few lines what the page does; refusals are the library's own errors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import nibabel as nib
import numpy as np
import pytest

import thoracle
from tests.ct.dicom.chest_series import make_slice, write_series
from tests.language_server import LanguageServer
from tests.serving.conftest import TOKEN, Asked, LoopTransport, asked, index_dir, model_dir, sketch, words  # noqa: F401  # fixtures
from thoracle.client.forms.search import SearchFilters, SearchQuery
from thoracle.client.http import Client
from thoracle.errors import AccessDenied, InputError, ServingError, TooFewSlices, UnknownId, UnsupportedFormat


@pytest.fixture
def client(asked: Asked) -> Iterator[Client]:  # noqa: F811
    with Client("http://server", token=TOKEN, transport=LoopTransport(asked)) as client:
        yield client


def test_three_lines_give_findings(client: Client, sketch: Path) -> None:  # noqa: F811
    scan = client.open_scan(sketch)
    findings = client.findings(scan).findings
    assert findings[0].name == "Medical material"
    assert client.findings(scan).findings == findings
    client.agree(scan, "Emphysema", "disagree")
    assert client.scan(scan).verdicts == {"Emphysema": "disagree"}
    assert scan in [row.id for row in client.scans().scans]
    client.close_scan(scan)
    with pytest.raises(UnknownId):
        client.scan(scan)


def test_three_lines_give_a_map_a_slice_and_the_voxels(client: Client, sketch: Path) -> None:  # noqa: F811
    scan = client.open_scan(sketch)
    strongest = client.map(scan, "Pleural effusion", method="gradient").slice
    assert strongest is not None
    assert client.slice_png(scan, "axial", strongest.index).startswith(b"\x89PNG")
    assert client.map_nifti(scan, "Pleural effusion").startswith(b"\x1f\x8b")
    assert client.volume_nifti(scan, most=64).startswith(b"\x1f\x8b")


def test_three_lines_find_cases_and_open_one(client: Client) -> None:
    answer = client.search(SearchQuery(text="effusion", filters=SearchFilters(without_labels=["Emphysema"]), top=12))
    at_hand = next(hit for hit in answer.hits if hit.scan_available)
    assert client.scan(client.open_hit(at_hand.hit)).shape == [128, 112, 88]
    assert len(answer.hits) == 11
    assert np.all(np.diff([hit.score for hit in answer.hits]) <= 0)


def test_three_lines_ask(client: Client, sketch: Path, words: LanguageServer) -> None:  # noqa: F811
    words.words = ["Yes ", "[F8]."]
    scan = client.open_scan(sketch)
    assert "".join(client.ask(scan, "Is there emphysema?")).startswith("Yes [F8].")
    assert client.scan(scan).conversation[0].citations[0].finding == "Emphysema"
    with pytest.raises(InputError, match="the question is empty"):
        list(client.ask(scan, " "))


def test_a_folder_is_sent_without_its_names(client: Client, tmp_path: Path) -> None:
    scan = client.open_scan(write_series(tmp_path / "Doe^Jane", make_slice))
    assert client.scan(scan).state == "ready"


def test_refusals_are_the_library_s(client: Client, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("no scan" * 100)
    with pytest.raises(UnsupportedFormat):
        client.open_scan(tmp_path / "a.txt")
    with pytest.raises(TooFewSlices, match="at least 10 are needed"):
        client.open_scan(write_series(tmp_path / "few", make_slice, range(4)))
    with pytest.raises(UnknownId):
        client.job("nobody")


def test_jobs_can_be_left_alone_and_cancelled(client: Client, sketch: Path) -> None:  # noqa: F811
    scan = client.open_scan(sketch, wait=False)
    job = client.scan(scan).job
    assert client.cancel(job).state in ("running", "cancelled", "done")
    assert client.status().version


def test_without_a_token_nothing_is_told(asked: Asked) -> None:  # noqa: F811
    with (
        Client("http://server", token="wrong", transport=LoopTransport(asked)) as nobody,
        pytest.raises(AccessDenied, match="Bearer TOKEN"),
    ):
        nobody.status()


def test_another_server_is_told_from_ours() -> None:
    other = httpx.MockTransport(lambda _: httpx.Response(502, text="Bad gateway"))
    with Client("http://server", token="x", transport=other) as client, pytest.raises(ServingError, match="answered 502"):
        client.status()


@pytest.mark.parametrize("sent", ["scan.mhd", ""], ids=["header", "folder"])
def test_a_header_goes_with_the_file_of_its_voxels(sent: str, client: Client, sketch: Path, tmp_path: Path) -> None:  # noqa: F811
    image = nib.load(sketch)
    (tmp_path / "scan.raw").write_bytes(np.asarray(image.dataobj).astype("<i2").tobytes("F"))
    x, y, z = image.header.get_zooms()
    fields = f"NDims = 3\nTransformMatrix = -1 0 0 0 -1 0 0 0 1\nElementSpacing = {x} {y} {z}\nDimSize = 128 112 88"
    (tmp_path / "scan.mhd").write_text(f"ObjectType = Image\n{fields}\nElementType = MET_SHORT\nElementDataFile = scan.raw\n")
    detail = client.scan(client.open_scan(tmp_path / sent))
    assert detail.provenance is not None
    assert detail.provenance["format"] == "MetaImage"
    assert detail.provenance["sha256"] == thoracle.read(tmp_path / "scan.mhd").provenance.sha256
