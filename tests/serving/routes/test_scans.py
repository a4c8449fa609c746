"""Scans come in, are shown and go, through the API as a program sees it."""

from __future__ import annotations

import gzip
import io
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

import thoracle
from tests.ct.dicom.chest_series import make_slice, write_series
from tests.serving.conftest import Asked, serving
from thoracle.serving.settings import ServerSettings

BINARY = {"Content-Type": "application/octet-stream"}


def test_a_scan_is_described_as_the_library_reads_it(asked: Asked, scan: str, sketch: Path) -> None:
    detail, volume = asked.client.get(f"/scans/{scan}").json(), thoracle.read(sketch)
    assert (detail["state"], detail["error"], detail["findings"], detail["warnings"]) == ("ready", None, None, [])
    assert detail["shape"] == list(volume.array.shape)
    assert detail["spacing_mm"] == list(volume.spacing)
    assert detail["provenance"]["sha256"] == volume.provenance.sha256
    assert detail["hu_range"] == [volume.array.min(), volume.array.max()]
    np.testing.assert_allclose(np.diag([-1, -1, 1, 1]) @ np.array(detail["affine_full_ras"]), volume.affine)
    row = next(row for row in asked.client.get("/scans").json()["scans"] if row["id"] == scan)
    assert row["series_label"] == detail["series_label"]
    assert scan in asked.client.get("/scans.csv").text


def test_its_voxels_come_in_full_and_as_a_preview(asked: Asked, scan: str, sketch: Path, tmp_path: Path) -> None:
    volume = thoracle.read(sketch)
    for query, step in (("", 1), ("?max=64", 2), ("?max=4096", 1)):
        (tmp_path / "v.nii").write_bytes(gzip.decompress(asked.client.get(f"/scans/{scan}/volume.nii.gz{query}").content))
        np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / "v.nii").dataobj), volume.array[::step, ::step, ::step])


@pytest.mark.parametrize(("path", "status"), [("axial/0.png", 200), ("axial/87.png?level=40&width=350", 200), ("axial/88.png", 422),
    ("axial/x.png", 422), ("oblique/0.png", 422), ("axial/0.png?width=0", 422), ("axial/0.png?level=nan", 422)])  # fmt: skip
def test_slices_are_pictures(path: str, status: int, asked: Asked, scan: str) -> None:
    answer = asked.client.get(f"/scans/{scan}/slices/{path}")
    assert answer.status_code == status
    assert answer.content.startswith(b"\x89PNG") == (status == 200)


def test_a_folder_a_zip_and_a_file_of_dicom_are_the_same_scan(asked: Asked, tmp_path: Path) -> None:
    folder = tmp_path / "Doe^Jane"
    write_series(folder, make_slice)
    files = sorted(folder.iterdir())
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        for file in files:
            packed.write(file, f"Doe^Jane/{file.name}")
    scans = [asked.open(archive.getvalue(), "application/zip")]
    answer = asked.client.post("/scans", files=[("files", (f"Doe^Jane/{file.name}", file.read_bytes())) for file in files])
    asked.done(answer)
    scans.append(answer.json()["scan"])
    details = [asked.client.get(f"/scans/{scan}").json() for scan in scans]
    expected = thoracle.read(folder).provenance.sha256
    assert [detail["provenance"]["sha256"] for detail in details] == [expected, expected]
    assert "Doe" not in str(details)


def test_each_series_of_a_study_becomes_a_scan(asked: Asked, tmp_path: Path) -> None:
    parts = []
    for number, uid in enumerate(("1.2.3", "1.2.4")):
        write_series(tmp_path / uid, partial(make_slice, SeriesInstanceUID=uid, SeriesNumber=number))
        parts += [("files", (file.name, file.read_bytes())) for file in (tmp_path / uid).iterdir()]
    before = {row["id"] for row in asked.client.get("/scans").json()["scans"]}
    answer = asked.client.post("/scans", files=parts)
    asked.done(answer)
    rows = [row for row in asked.client.get("/scans").json()["scans"] if row["id"] not in before]
    assert [row["state"] for row in rows] == ["ready", "ready"]
    assert rows[0]["id"] == answer.json()["scan"]
    assert [row["series_label"].split(", ")[1] for row in rows] == ["series 1 of 2", "series 2 of 2"]


def test_what_is_no_scan_is_refused_with_the_library_s_own_words(asked: Asked) -> None:
    answer = asked.client.post("/scans", content=b"a text, no scan" * 20, headers=BINARY)
    status = asked.wait(answer.json()["job"])
    assert (status["state"], status["error"]["kind"]) == ("failed", "UnsupportedFormat")
    scan = answer.json()["scan"]
    detail = asked.client.get(f"/scans/{scan}").json()
    assert (detail["state"], detail["error"]) == ("refused", status["error"])
    for path in ("volume.nii.gz", "slices/axial/0.png", "findings"):
        refused = asked.client.get(f"/scans/{scan}/{path}")
        assert (refused.status_code, refused.json()["error"]["kind"]) == (422, "UnsupportedFormat")


def test_a_closed_scan_is_gone_with_its_files(asked: Asked, sketch: Path) -> None:
    scan = asked.open(sketch.read_bytes())
    folder = asked.server.store.scan(scan).folder
    assert not (folder / "upload").exists(), "an upload that was read is deleted"
    assert (folder / "volume").exists()
    assert asked.client.delete(f"/scans/{scan}").status_code == 204
    assert not folder.exists()
    assert asked.client.get(f"/scans/{scan}").status_code == 404
    assert asked.client.delete(f"/scans/{scan}").status_code == 404


@pytest.mark.parametrize(
    ("change", "content", "status", "kind"),
    [
        ({"upload_bytes": 10}, b"x" * 11, 413, "BudgetExceeded"),
        ({"disk_bytes": 10}, b"x" * 11, 429, "ServerFull"),
        ({"open_scans": 1}, b"x", 429, "ServerFull"),
        ({"waiting": 1}, b"x", 429, "ServerFull"),
    ],
)
def test_limits_refuse_the_upload_and_leave_nothing_of_it(
    change: dict[str, Any], content: bytes, status: int, kind: str, settings: ServerSettings
) -> None:
    with serving(replace(settings, **change), workers=False) as asked:
        if "upload_bytes" not in change and "disk_bytes" not in change:
            assert asked.client.post("/scans", content=b"y", headers=BINARY).status_code == 202
        before = sorted((settings.work / "scans").rglob("*"))
        refused = asked.client.post("/scans", content=content, headers=BINARY)
        assert (refused.status_code, refused.json()["error"]["kind"]) == (status, kind)
        assert ("Retry-After" in refused.headers) == (status == 429)
        assert sorted((settings.work / "scans").rglob("*")) == before


def test_scans_that_nobody_uses_expire(settings: ServerSettings) -> None:
    with serving(replace(settings, expires_after=0.2), workers=True) as asked:
        scan = asked.client.post("/scans", content=b"y", headers=BINARY).json()["scan"]
        folder = asked.server.store.scan(scan).folder
        while folder.exists():
            pass
        assert asked.client.get(f"/scans/{scan}").status_code == 404
    assert not (settings.work / "scans").exists()
