"""`thoracle evaluate retrieval`: figures with chance beside, over what is named of an index, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from thoracle.types import ABNORMALITIES

NOTICE = "Research use only. Not a medical device."
TASKS = {"report to volume", "volume to report", "volume to volume", "words to volume", "keyword"}


def _document(out: Path) -> dict[str, Any]:
    return json.loads((out / "results.json").read_text())


@pytest.mark.parametrize(
    ("protocol", "published"), [("ct-clip", {"report to volume", "volume to volume"}), ("bimcv-r", {"words to volume", "volume to volume"})]
)
def test_an_index_is_evaluated_with_chance_and_the_published_way_beside(
    command, index: Path, model_dir: Path, tmp_path: Path, protocol: str, published: set[str]
) -> None:
    out = tmp_path / "out"
    ran = command("evaluate", "retrieval", index, "--protocol", protocol, "--out", out, "--model", model_dir, "--resamples", 20)
    assert ran.status == 0, ran.err
    assert all(f"{task}: " in ran.out for task in TASKS)
    assert "random 0." in ran.out
    assert "UNTRAINED WEIGHTS: what is found means nothing." in ran.out
    assert NOTICE in ran.out
    document = _document(out)
    assert (document["notice"], document["protocol"], document["trained"]) == (NOTICE, protocol, False)
    assert set(document["tasks"]) == TASKS
    assert set(document["published"]) == published
    assert document["tasks"]["keyword"]["figures"]["R@1"]["value"] == pytest.approx(8 / 9), "one no report names"
    assert set(document["precision@10"]) == {"words to volume", "keyword"}
    name = ABNORMALITIES[3]
    assert (document["precision@10"]["keyword"][name], document["prevalence"][name]) == (0.1, pytest.approx(2 / 9))
    assert document["gallery"] == {"volumes": 9, "scans": 8, "patients": 8}
    assert document["tasks"]["report to volume"]["queries"] == 8
    assert document["model"]["section"] == "both"
    assert NOTICE in (out / "report.html").read_text()


def test_of_a_report_the_section_is_encoded_that_is_named(command, index: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = command("evaluate", "retrieval", index, "--section", "impression", "--out", out, "--resamples", 20)
    assert ran.status == 0, ran.err
    document = _document(out)
    assert document["model"]["section"] == "impression"
    assert set(document["tasks"]) == TASKS - {"report to volume", "volume to report"}, "no report here has an impression"


def test_a_gallery_of_a_size_is_drawn_by_its_seed_of_whole_scans(command, index: Path, tmp_path: Path) -> None:
    asked = ("evaluate", "retrieval", index, "--split", "valid", "--gallery-size", 3, "--resamples", 5, "--out")
    for name, seed in (("a", 1), ("again", 1), ("other", 2)):
        ran = command(*asked, tmp_path / name, "--seed", seed)
        assert ran.status == 0, ran.err
    document = _document(tmp_path / "a")
    assert (document["gallery"]["scans"], document["gallery"]["patients"]) == (3, 3)
    assert document == _document(tmp_path / "again")
    assert document["prevalence"] != _document(tmp_path / "other")["prevalence"]
    with_abnormality = sum(document["prevalence"].values()) * document["gallery"]["volumes"]
    assert with_abnormality == pytest.approx(2 * document["gallery"]["volumes"]), "each scan of this cohort has two abnormalities"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--gallery-size", "1"), "no gallery"),
        (("--split", "train"), "no volume of split 'train'"),
        (("--protocol", "nonsense"), "nonsense"),
    ],
)
def test_what_is_no_gallery_ends_with_2(command, index: Path, tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    ran = command("evaluate", "retrieval", index, "--out", tmp_path / "out", *arguments)
    assert (ran.status, words in ran.err) == (2, True), ran.err
    assert not (tmp_path / "out").exists()


def test_no_index_and_a_model_that_is_nowhere_say_what_to_do(command, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = command("evaluate", "retrieval", tmp_path / "nowhere", "--out", tmp_path / "out")
    assert (ran.status, "thoracle index COHORT" in ran.err) == (1, True), ran.err
    monkeypatch.setenv("THORACLE_CACHE", str(tmp_path / "another machine"))
    ran = command("evaluate", "retrieval", index, "--out", tmp_path / "out")
    assert (ran.status, "--model" in ran.err) == (2, True), ran.err


def test_a_list_is_the_gallery(command, index: Path, model_dir: Path, tmp_path: Path) -> None:
    assert command("search", index, "--keyword", "number NOT 4", "--all", "--csv", tmp_path / "list.csv").status == 0
    asked = ("evaluate", "retrieval", index, "--model", model_dir, "--resamples", 20, "--only")
    ran = command(*asked, tmp_path / "list.csv", "--out", tmp_path / "out")
    assert (ran.status, "8 volumes are listed in list.csv." in ran.err) == (0, True), ran.err
    assert _document(tmp_path / "out")["gallery"]["volumes"] == 8
    (tmp_path / "none.csv").write_text("volume\nx\n")
    ran = command(*asked, tmp_path / "none.csv", "--out", tmp_path / "out")
    assert (ran.status, "none of them is here" in ran.err) == (2, True), ran.err
