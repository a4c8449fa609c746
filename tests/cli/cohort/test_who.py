from __future__ import annotations

import json
from pathlib import Path

import pytest

from thoracle.cohort.manifest import open_cohort
from thoracle.config_reader import config_to_mapping
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.inference.demo.assets import write_scan


@pytest.fixture
def cohort(command, tmp_path: Path) -> Path:
    """A cohort of one scan of patient 0734912, under pseudonyms of `tmp_path / "k"`."""
    root = tmp_path / "archive"
    write_scan(root / "CT.nii.gz")
    (root / "t.csv").write_text("path,patient\nCT.nii.gz,0734912\n")
    (tmp_path / "p.json").write_text(json.dumps(config_to_mapping(PreprocessConfig(spacing=(16.0, 12.0, 12.0), size=(20, 20, 24)))))
    settings = ("--layout", "folder", "--preprocess", tmp_path / "p.json", "--workers", 1, "--site-key", tmp_path / "k")
    ran = command("prepare", root, *settings, "--out", tmp_path / "cohort")
    assert ran.status == 0, ran.err
    return tmp_path / "cohort"


def test_the_site_learns_which_scan_a_pseudonym_is_and_which_pseudonym_a_scan_has(command, cohort: Path, tmp_path: Path) -> None:
    (entry,) = open_cohort(cohort).entries
    for name in (entry.volume, entry.scan, entry.patient, "0734912", "CT.nii.gz"):
        ran = command("cohort", "who", cohort, name, "--src", tmp_path / "archive", "--key", tmp_path / "k")
        assert (ran.status, ran.out.split()) == (0, [entry.volume, "CT.nii.gz", f"{tmp_path}/archive/CT.nii.gz"])


def test_without_the_key_it_is_refused(command, cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (entry,) = open_cohort(cohort).entries
    monkeypatch.setenv("THORACLE_SITE_KEY", str(tmp_path / "nobody's"))
    ran = command("cohort", "who", cohort, entry.volume, "--src", tmp_path / "archive")
    assert (ran.status, ran.out.strip()) == (2, "")
    assert "no such file" in ran.err
    (tmp_path / "nobody's").write_text("ab" * 32)
    ran = command("cohort", "who", cohort, entry.volume, "--src", tmp_path / "archive")
    assert (ran.status, ran.out.strip()) == (2, "")
    assert "is not the one that its pseudonyms were made with" in ran.err
