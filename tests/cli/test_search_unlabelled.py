"""An index whose cohort has neither labels nor, of some scans, reports."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from thoracle.cohort.manifest import open_cohort, write_manifest
from thoracle.cohort.sources import NO_REPORT, UNLABELLED
from thoracle.types import ABNORMALITIES

REPORTED = 3


@pytest.fixture(params=[REPORTED, 0])
def reported(request: pytest.FixtureRequest) -> int:
    """How many of the nine volumes have a report."""
    return int(request.param)


@pytest.fixture
def index(command, hospital: Path, model_dir: Path, reported: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("THORACLE_CACHE", str(tmp_path / "cache"))
    cohort = tmp_path / "bare"
    shutil.copytree(hospital, cohort)
    entries = open_cohort(cohort).entries
    bare = [replace(one, labels=UNLABELLED, report=one.report if n >= 9 - reported else NO_REPORT) for n, one in enumerate(entries)]
    write_manifest(cohort, bare)
    ran = command("index", cohort, "--model", model_dir, "--keep-identifiers", "--out", tmp_path / "index")
    assert ran.status == 0, ran.err
    return tmp_path / "index"


def test_words_scans_and_likeness_find_and_the_page_says_that_there_is_no_label(command, index: Path, sketch: Path, tmp_path: Path) -> None:
    for part in (("--text", "nodule"), ("--scan", sketch), ("--similar-to", "ACC2"), ("--text", "nodule", "--similar-to", "ACC2")):
        ran = command("search", index, *part, "--json", tmp_path / "hits.json", "--html", tmp_path / "sheet.html")
        assert ran.status == 0, ran.err
        hits = json.loads((tmp_path / "hits.json").read_text())["hits"]
        assert len(hits) == 8
        assert {tuple(hit["labels"]) for hit in hits} == {()}
        assert (tmp_path / "sheet.html").read_text().count("no label") == 8


def test_filters_on_labels_and_keywords_find_what_there_is(command, index: Path, reported: int) -> None:
    for wanted in ("--label", "--without-label"):
        ran = command("search", index, "--text", "nodule", wanted, ABNORMALITIES[3])
        assert (ran.status, "Nothing found" in ran.out) == (0, True), "nobody says that it is there, or that it is not"
    ran = command("search", index, "--keyword", "number", "--json", "-")
    assert (ran.status, len(json.loads(ran.out)["hits"])) == (0, reported)


@pytest.mark.parametrize("protocol", ["ct-clip", "bimcv-r"])
def test_evaluation_measures_what_can_be_and_counts_what_has_nothing_to_find(
    command, index: Path, reported: int, protocol: str, tmp_path: Path
) -> None:
    ran = command("evaluate", "retrieval", index, "--protocol", protocol, "--out", tmp_path / "found", "--resamples", 20)
    assert ran.status == 0, ran.err
    assert "volume to volume: 0 queries; 9 more to which nothing belongs" in ran.out
    assert "words to volume: 0 queries; 18 more to which nothing belongs" in ran.out
    found = json.loads((tmp_path / "found" / "results.json").read_text(), parse_constant=lambda name: pytest.fail(f"no JSON: {name}"))
    with_reports = {"report to volume", "volume to report", "keyword"} if reported else set()
    assert set(found["tasks"]) == {"volume to volume", "words to volume"} | with_reports
    if reported:
        assert found["tasks"]["report to volume"]["queries"] == REPORTED
        assert found["tasks"]["keyword"] == {"figures": {}, "random": {}, "queries": 0, "without": 18}
