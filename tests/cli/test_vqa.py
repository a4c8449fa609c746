from __future__ import annotations

import json
from pathlib import Path


def test_the_same_cohort_and_seed_give_the_same_questions(command, noise: Path, tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        ran = command("vqa", noise, "--out", tmp_path / name, "--seed", 3)
        assert ran.status == 0, ran.err
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    entries = json.loads((tmp_path / "a.json").read_text())
    assert all(entry["conversations"][0]["from"] == "human" for entry in entries)
    assert f"{len(entries):,} questions" in ran.err
    assert "Not a medical device." in ran.err


def test_a_folder_that_is_no_cohort_is_refused(command, tmp_path: Path) -> None:
    ran = command("vqa", tmp_path, "--out", tmp_path / "q.json")
    assert ran.status == 1
    assert not (tmp_path / "q.json").exists()
