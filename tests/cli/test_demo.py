from __future__ import annotations

import json
from pathlib import Path

import pytest

import thoracle
from thoracle.ct.quality import assess
from thoracle.types import ABNORMALITIES


def test_the_demo_runs_on_a_scan_it_writes(command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THORACLE_DATA", str(tmp_path / "nothing"))
    ran = command("demo")
    assert ran.status == 0, ran.err
    assert "RANDOM weights" in ran.out
    assert "UNTRAINED WEIGHTS: probabilities mean nothing." in ran.out
    assert all(name in ran.out for name in ABNORMALITIES)
    written = json.loads((tmp_path / "demo-out" / "findings.json").read_text())
    assert written["model"]["trained"] is False
    assert len(written["findings"]) == 18
    assert (tmp_path / "demo-out" / "sketch.nii.gz").exists()
    assert command("demo").status == 0, "a second time, over the first"


def test_the_demo_takes_the_real_chest_where_there_is_one(command, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THORACLE_DATA", str(data_dir))
    ran = command("demo", "--out", tmp_path / "out")
    assert ran.status == 0, ran.err
    assert "cip_ct64" in ran.out
    assert json.loads((tmp_path / "out" / "findings.json").read_text())["provenance"]["format"].startswith("DICOM")


def test_the_sketch_is_a_chest(sketch: Path) -> None:
    volume = thoracle.read(sketch)
    assert volume.spacing == pytest.approx((3, 3, 4))
    quality = assess(volume)
    assert quality.is_chest
    assert quality.warnings == ()
