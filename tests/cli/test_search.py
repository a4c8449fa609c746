from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

from safetensors.torch import load_file, save_file

from thoracle.inference.demo.assets import write_model
from thoracle.types import ABNORMALITIES


def _hits(command, *arguments: object) -> list[dict]:
    ran = command("search", *arguments, "--json", "-")
    assert ran.status == 0, ran.err
    return json.loads(ran.out)["hits"]


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
