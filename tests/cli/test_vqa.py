from __future__ import annotations

import json
from collections import Counter
from pathlib import Path


def test_the_same_cohort_and_seed_give_the_same_questions(command, noise: Path, tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        ran = command("vqa", noise, "--out", tmp_path / name, "--seed", 3)
        assert ran.status == 0, ran.err
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    entries = json.loads((tmp_path / "a.json").read_text())
    assert all(entry["conversations"][0]["from"] == "human" for entry in entries)
    pairs = [turn for entry in entries for turn in entry["conversations"] if turn["from"] == "human"]
    scans = {entry["image"] for entry in entries}
    long = sum(turn["value"].endswith("<long_answer>") for turn in pairs)
    shares = f"{len(pairs) / len(scans):.1f} a scan, {long / len(pairs):.1%} with long answers"
    assert f"{len(pairs):,} questions, {shares} (" in ran.err
    assert (len(pairs) / len(scans) > 90, long / len(pairs) > 0.3) == (True, True), shares
    assert "Not a medical device." in ran.err


def test_a_folder_that_is_no_cohort_is_refused(command, tmp_path: Path) -> None:
    ran = command("vqa", tmp_path, "--out", tmp_path / "q.json")
    assert ran.status == 1
    assert not (tmp_path / "q.json").exists()


def test_fewer_pairs_a_scan_keep_presence_and_the_report(command, noise: Path, tmp_path: Path) -> None:
    topics = {}
    for name, arguments in (("all", ()), ("few", ("--pairs", 16))):
        ran = command("vqa", noise, "--out", tmp_path / name, *arguments)
        assert ran.status == 0, ran.err
        entries = json.loads((tmp_path / name).read_text())
        topics[name] = Counter(turn["topic"] for entry in entries for turn in entry["conversations"] if turn["from"] == "human")
    assert topics["few"] < topics["all"]
    assert all(topics["few"][topic] == topics["all"][topic] for topic in ("presence", "report"))
    scans = topics["few"]["report"]
    assert topics["few"].total() - topics["few"]["change"] <= max(16 * scans, topics["few"]["presence"] + scans)
