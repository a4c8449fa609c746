from __future__ import annotations

import json
import re
from hashlib import sha256
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from thoracle.inference.demo.assets import write_model
from thoracle.types import ABNORMALITIES


@pytest.fixture
def index(command, hospital: Path, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of the cohort, under pseudonyms of a key beside it."""
    monkeypatch.setenv("THORACLE_CACHE", str(tmp_path / "cache"))
    ran = command("index", hospital, "--model", model_dir, "--out", tmp_path / "index", "--site-key", tmp_path / "site.key")
    assert ran.status == 0, ran.err
    assert "9 volumes, 0 failed" in ran.err
    assert "Research use only" in ran.err
    return tmp_path / "index"


def _hits(command, *arguments: object) -> list[dict]:
    ran = command("search", *arguments, "--json", "-")
    assert ran.status == 0, ran.err
    return json.loads(ran.out)["hits"]


def test_no_name_of_a_patient_is_in_any_file(index: Path) -> None:
    content = b"".join(path.read_bytes() for path in index.rglob("*") if path.is_file())
    assert b"Number" in content
    assert re.findall(rb"PAT\d|ACC\d|_SCAN", content) == []


def test_like_takes_either_form_where_the_key_is_at_hand(command, index: Path, tmp_path: Path) -> None:
    key = ("--site-key", tmp_path / "site.key")
    real = _hits(command, index, "--similar-to", "ACC0", *key)
    assert real == _hits(command, index, "--similar-to", real[0]["accession"])
    assert len(real) == 8, "a scan of two volumes is one hit"
    ran = command("search", index, "--similar-to", "ACC0", "--site-key", tmp_path / "none.key")
    assert (ran.status, "no such file" in ran.err) == (2, True)


def test_parts_are_fused_and_filtered(command, index: Path, sketch: Path, tmp_path: Path) -> None:
    (tmp_path / "report.txt").write_text("Number 3.")
    parts = ("--text", "nodule", "--scan", sketch, "--report", tmp_path / "report.txt", "--keyword", "number NOT 4")
    hits = _hits(command, index, *parts)
    assert len(hits) == 8
    assert set(hits[0]["ranks"]) == {"text", "scan", "report", "keyword"}
    assert {"text", "scan", "report"} == set(next(hit for hit in hits if "Number 4." in hit["sentence"])["ranks"])
    labelled = _hits(command, index, "--text", "nodule", "--label", ABNORMALITIES[4])
    assert {hit["labels"][0] for hit in labelled} <= {ABNORMALITIES[3], ABNORMALITIES[4]}
    assert len(labelled) == 2


def test_weights_and_what_is_left_out_are_settable(command, index: Path) -> None:
    first = _hits(command, index, "--keyword", "number")[0]["accession"]
    like = _hits(command, index, "--similar-to", first)
    assert like[0]["accession"] == first
    both = ("--similar-to", first, "--keyword", "number")
    assert _hits(command, index, *both, "--weight", "like=1e6")[:3] != _hits(command, index, *both, "--weight", "keyword=1e6")[:3]
    heavy = _hits(command, index, *both, "--weight", "like=1e6")
    assert [hit["accession"] for hit in heavy] == [hit["accession"] for hit in like]
    for what in ("scan", "patient", "duplicates"):
        assert first not in {hit["accession"] for hit in _hits(command, index, "--similar-to", first, "--exclude", what)}
    for wrong in (("--weight", "like"), ("--weight", "like=-1"), ("--exclude", "me"), ("--age", "old"), ("--from", "May")):
        assert command("search", index, *both, *wrong).status == 2


def test_a_table_a_page_and_times(command, index: Path, tmp_path: Path) -> None:
    ran = command("search", index, "--keyword", '"number 5"', "--html", tmp_path / "sheet.html")
    assert ran.status == 0, ran.err
    assert "Number 5." in ran.out
    assert "search" in ran.out
    assert "Research use only" in ran.out
    page = (tmp_path / "sheet.html").read_text()
    assert page.count("data:image/png;base64,") == 1
    assert "PAT" not in page


def test_no_index_and_another_model_say_what_to_do(command, index: Path, tmp_path: Path) -> None:
    ran = command("search", tmp_path / "nowhere", "--keyword", "a")
    assert (ran.status, "thoracle index COHORT" in ran.err) == (1, True), ran.err
    other = write_model(tmp_path / "other").path
    weights, config = other / "model.safetensors", other / "config.json"
    before = sha256(weights.read_bytes()).hexdigest()
    save_file({name: value.flip(0) for name, value in load_file(weights).items()}, weights)
    config.write_text(config.read_text().replace(before, sha256(weights.read_bytes()).hexdigest()))
    ran = command("search", index, "--text", "a", "--model", other)
    assert ran.status != 0
    assert "another model" in ran.err


def test_a_second_run_does_only_what_is_new_and_a_copy_answers_alike(
    command, index: Path, hospital: Path, model_dir, tmp_path: Path
) -> None:
    before = (index / "index.sqlite").read_bytes()
    again = command("index", hospital, "--model", model_dir, "--out", index, "--site-key", tmp_path / "site.key")
    assert (again.status, (index / "index.sqlite").read_bytes() == before) == (0, True)
    pytest.importorskip("qdrant_client")
    server = f"qdrant:{tmp_path}/server/cases"
    assert command("index", "copy", index, server).status == 0
    for parts in (("--text", "nodule"), ("--keyword", '"number 3"'), ("--text", "nodule", "--keyword", "number NOT 4")):
        for filters in ((), ("--label", ABNORMALITIES[4]), ("--without-label", ABNORMALITIES[4])):
            here, there = (_hits(command, place, *parts, *filters) for place in (index, server))
            order = sorted if len(parts) > 2 else list  # "number" ranks reports alike, and fusion takes either order of them
            assert order(hit["volume"] for hit in here) == order(hit["volume"] for hit in there)


def test_a_patient_is_deleted_by_real_name(command, index: Path, tmp_path: Path) -> None:
    ran = command("index", "delete", index, "--patient", "PAT0", "--site-key", tmp_path / "site.key")
    assert (ran.status, "2 volumes deleted, 7 left" in ran.out) == (0, True), ran.err
    assert command("index", "check", index).status == 0
    assert len(_hits(command, index, "--keyword", "number")) == 7


def test_retrieval_is_evaluated_with_chance_and_the_published_way_beside(command, index: Path, model_dir: Path, tmp_path: Path) -> None:
    for protocol in ("ct-clip", "bimcv-r"):
        out = tmp_path / protocol
        ran = command("evaluate", "retrieval", index, "--protocol", protocol, "--out", out, "--model", model_dir, "--resamples", 20)
        assert ran.status == 0, ran.err
        assert "Research use only" in ran.out
        found = json.loads((out / "results.json").read_text())
        assert set(found["tasks"]) == {"report to volume", "volume to report", "volume to volume", "words to volume", "keyword"}
        published = {"ct-clip": {"report to volume", "volume to volume"}, "bimcv-r": {"words to volume"}}
        assert set(found["published"]) == published[protocol]
        assert found["tasks"]["keyword"]["figures"]["R@1"]["value"] == pytest.approx(8 / 9), "one no report names"
        assert set(found["precision@10"]) == {"words to volume", "keyword"}
        name = ABNORMALITIES[3]
        assert (found["precision@10"]["keyword"][name], found["prevalence"][name]) == (0.1, pytest.approx(2 / 9))
        assert found["gallery"] == {"volumes": 9, "scans": 8, "patients": 8}
        assert found["tasks"]["report to volume"]["queries"] == 8
        assert found["model"]["section"] == "both"
        assert "Research use only" in (out / "report.html").read_text()


def test_of_a_report_the_section_is_encoded_that_is_named(command, index: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    ran = command("evaluate", "retrieval", index, "--section", "impression", "--out", out, "--resamples", 20)
    assert ran.status == 0, ran.err
    found = json.loads((out / "results.json").read_text())
    assert found["model"]["section"] == "impression"
    assert set(found["tasks"]) == {"volume to volume", "words to volume", "keyword"}, "no report here has an impression"
