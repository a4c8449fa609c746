from __future__ import annotations

import json
import platform
import sqlite3
from importlib.metadata import version
from pathlib import Path

import pytest

from thoracle.inference.demo.locations import keep_demo_model
from thoracle.inference.model_locations import register


def test_the_doctor_tells_what_a_bug_report_needs(command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THORACLE_CACHE", str(tmp_path / "kept"))
    monkeypatch.setenv("THORACLE_SITE_KEY", str(tmp_path / "site.key"))
    ran = command("doctor", "--json", "-")
    assert command("doctor", "--json").out == ran.out
    facts = json.loads(ran.out)
    assert ran.status == 0
    assert facts["versions"]["python"] == platform.python_version()
    assert facts["versions"]["sqlite"] == sqlite3.sqlite_version
    for package in ("thoracle", "torch", "numpy", "pydicom", "nibabel", "python-gdcm"):
        assert facts["versions"][package] == version(package)
    assert facts["codecs"]["JPEG 2000 Image Compression (Lossless Only)"]
    assert facts["codecs"]["JPEG-LS Lossless Image Compression"]
    assert set(facts["extras"]) == {"chat", "faiss", "hub", "medfinder", "onnx", "qdrant", "serve"}
    assert f"transformers {version('transformers')}" in facts["extras"]["chat"]
    assert facts["models"]["demo model"] == facts["models"]["demo chat"] == "none; `thoracle demo` makes it"
    assert facts["models"]["site key"] == f"none; it is made at {tmp_path / 'site.key'} when it is first needed"
    assert "threads" in facts["devices"]["cpu"]
    assert "GiB" in facts["memory"]
    assert facts["cache"] == str(tmp_path / "kept")
    assert "GiB" in facts["disk"]
    assert any("SQLite" in warning for warning in facts["warnings"]) == (sqlite3.sqlite_version_info < (3, 51, 3))
    assert not (tmp_path / "kept").exists()


def test_what_is_on_this_machine_is_listed(command, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THORACLE_CACHE", str(tmp_path / "kept"))
    monkeypatch.setenv("THORACLE_SITE_KEY", str(tmp_path / "site.key"))
    keep_demo_model(model_dir)
    register(model_dir, "a" * 64)
    (tmp_path / "site.key").write_text("a secret")
    ran = command("doctor", "--json")
    models = json.loads(ran.out)["models"]
    assert models["demo model"] == str(tmp_path / "kept" / "demo-model")
    assert models["model used 1"] == str(model_dir.resolve())
    assert models["site key"] == str(tmp_path / "site.key")
    assert "a secret" not in ran.out


def test_an_argument_too_many_is_refused(command) -> None:
    for arguments in (("-",), ("--json", "x.json")):
        ran = command("doctor", *arguments)
        assert (ran.status, "one argument too many" in ran.err) == (2, True)


def test_the_doctor_speaks_to_people_too(command) -> None:
    ran = command("doctor")
    assert ran.status == 0
    for topic in ("Versions", "Extras", "Models", "DICOM codecs", "Devices", "Machine", "cache", "disk", "memory", "sqlite"):
        assert topic in ran.out
