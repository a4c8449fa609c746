from __future__ import annotations

import json
import platform
import sqlite3
from importlib.metadata import version
from pathlib import Path

import pytest


def test_the_doctor_tells_what_a_bug_report_needs(command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THORACLE_CACHE", str(tmp_path / "kept"))
    ran = command("doctor", "--json")
    facts = json.loads(ran.out)
    assert ran.status == 0
    assert facts["versions"]["python"] == platform.python_version()
    assert facts["versions"]["sqlite"] == sqlite3.sqlite_version
    for package in ("thoracle", "torch", "numpy", "pydicom", "nibabel", "python-gdcm"):
        assert facts["versions"][package] == version(package)
    assert facts["codecs"]["JPEG 2000 Image Compression (Lossless Only)"]
    assert facts["codecs"]["JPEG-LS Lossless Image Compression"]
    assert "threads" in facts["devices"]["cpu"]
    assert "GiB" in facts["memory"]
    assert facts["cache"] == str(tmp_path / "kept")
    assert "GiB" in facts["disk"]
    assert any("SQLite" in warning for warning in facts["warnings"]) == (sqlite3.sqlite_version_info < (3, 51, 3))
    assert not (tmp_path / "kept").exists()


def test_the_doctor_speaks_to_people_too(command) -> None:
    ran = command("doctor")
    assert ran.status == 0
    for topic in ("Versions", "DICOM codecs", "Devices", "Machine", "cache", "disk", "memory", "sqlite"):
        assert topic in ran.out
