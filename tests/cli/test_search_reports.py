"""Reports in an index: found by scans, with what `evaluate retrieval` says of them, reports without scans, and latents of reports."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thoracle.cohort.manifest import open_cohort, write_manifest
from thoracle.cohort.reports import Report
from thoracle.cohort.samples.volume_cache import read_volume
from thoracle.inference.latents import read_latents
from thoracle.inference.model import load
from thoracle.inference.prepare import prepared_array
from thoracle.search.engine import Engine, Query
from thoracle.search.open_index import open_index, open_reports


def _hits(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text())["hits"]


@pytest.fixture
def noisy(command, noise: Path, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index of 18 scans, each with a report of its own."""
    monkeypatch.setenv("THORACLE_CACHE", str(tmp_path / "cache"))
    ran = command("index", noise, "--model", model_dir, "--out", tmp_path / "noisy")
    assert ran.status == 0, ran.err
    assert "18 reports (both)" in ran.err
    return tmp_path / "noisy"


def test_the_search_finds_what_the_evaluation_says_that_it_finds(
    command, noisy: Path, noise: Path, model_dir: Path, tmp_path: Path
) -> None:
    ran = command("evaluate", "retrieval", noisy, "--out", tmp_path / "found", "--model", model_dir, "--resamples", 5)
    assert ran.status == 0, ran.err
    figures = json.loads((tmp_path / "found" / "results.json").read_text())["tasks"]["volume to report"]["figures"]
    model, ranks = load(model_dir), []
    with open_index(str(noisy)) as index, open_reports(str(noisy)) as reports:
        engine = Engine(index, model=model, reports=reports)
        for entry in open_cohort(noise).entries:
            scan = prepared_array(read_volume(noise / entry.cache))  # as `--scan FILE` prepares it
            hits = [hit.record.report.findings for hit in engine.search(Query(scan=scan, k=18)).hits]
            assert len(hits) == len(set(hits)) == 18
            ranks.append(hits.index(entry.report.findings) + 1)
    for k in (1, 5, 10):
        assert figures[f"R@{k}"]["value"] == pytest.approx(np.mean(np.array(ranks) <= k)), k
    assert 0 < figures["R@10"]["value"] < 1, "else nothing was measured"
    with open_index(str(noisy)) as index:
        assert index.settings["licence"] == model.folder.licence
        assert index.settings["citations"] == list(model.folder.citations)
    page = (tmp_path / "found" / "report.html").read_text()
    assert "Licence of the model&#x27;s weights: Apache-2.0" in page
    assert f"To be cited: {model.folder.citations[0]}." in page


def test_a_scan_finds_reports_and_a_known_scan_its_likeness(command, index: Path, sketch: Path, tmp_path: Path) -> None:
    ran = command("search", index, "--scan", sketch, "--for", "reports", "--json", tmp_path / "hits.json")
    assert ran.status == 0, ran.err
    assert "8 reports; encode" in ran.out
    assert json.loads((tmp_path / "hits.json").read_text())["for"] == "reports"
    assert len(_hits(tmp_path / "hits.json")) == 8
    for part in (("--similar-to", "ACC2", "--site-key", tmp_path / "site.key"), ("--keyword", "number")):
        ran = command("search", index, *part, "--for", "reports", "--json", tmp_path / "hits.json")
        assert ran.status == 0, ran.err
        assert len(_hits(tmp_path / "hits.json")) == 8
    ran = command("search", index, "--similar-to", "ACC2", "--site-key", tmp_path / "site.key", "--for", "reports", "--exclude", "patient",
                  "--json", tmp_path / "others.json")  # fmt: skip
    assert ran.status == 0, ran.err
    assert not [hit for hit in _hits(tmp_path / "others.json") if "Cardiomegaly" in hit["sentence"]]
    assert len(_hits(tmp_path / "others.json")) == 7
    ran = command("search", index, "--keyword", "number", "--count", "--for", "reports")
    assert (ran.status, "--for ranks cases" in ran.err) == (2, True), ran.err


def test_a_report_is_shown_with_no_scans_slices_and_has_no_probabilities(command, index: Path, tmp_path: Path) -> None:
    asked = ("search", index, "--keyword", "number", "--for", "reports")
    ran = command(*asked, "--html", tmp_path / "sheet.html")
    assert ran.status == 0, ran.err
    page = (tmp_path / "sheet.html").read_text()
    assert (page.count("no slices kept"), page.count("<img")) == (8, 0), "ids of reports are not those of volumes"
    ran = command(*asked, "--scored", "Rib fracture=0")
    assert (ran.status, "reports have no probabilities" in ran.err) == (2, True), ran.err


def test_reports_that_differ_by_spaces_are_one_wording(command, noise: Path, model_dir: Path, tmp_path: Path) -> None:
    cohort = shutil.copytree(noise, tmp_path / "cohort")
    spellings = ("Emphysema is present.", "Emphysema  is\r\npresent.")
    entries = open_cohort(noise).entries
    write_manifest(cohort, [replace(entry, report=Report(findings=spellings[n % 2])) for n, entry in enumerate(entries)])
    for arguments in (("index", cohort, "--out", tmp_path / "i"), ("evaluate", "retrieval", tmp_path / "i", "--out", tmp_path / "e")):
        ran = command(*arguments, "--model", model_dir)
        assert ran.status == 0, ran.err
    figures = json.loads((tmp_path / "e" / "results.json").read_text())["tasks"]["volume to report"]["figures"]
    assert figures["R@1"]["value"] == 1, "the only wording there is"
    ran = command("search", tmp_path / "i", "--keyword", "emphysema", "--for", "reports", "--json", tmp_path / "hits.json")
    assert len(_hits(tmp_path / "hits.json")) == 1


def test_reports_of_the_same_words_are_one_hit(command, hospital: Path, model_dir: Path, index: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text(
        "AccessionNo,report_text,who\nR1,Emphysema is present. Number 7.,P1\nR2,Lung nodule is present.,P2\nR3,Emphysema.,P1\n"
    )
    asked = ("index", table, "--model", model_dir, "--out", index, "--patient-column", "who", "--site-key", tmp_path / "site.key")
    ran = command(*asked)
    assert ran.status == 0, ran.err
    assert "9 volumes, 0 failed" in ran.err
    assert "11 reports (both)" in ran.err
    assert command(*asked).status == 0, "nothing changes when it is given again"
    ran = command("search", index, "--report", table, "--for", "reports", "--json", tmp_path / "hits.json")
    assert ran.status == 0, ran.err
    sentences = [hit["sentence"] for hit in _hits(tmp_path / "hits.json")]
    assert len(sentences) == len({hit["accession"] for hit in _hits(tmp_path / "hits.json")}) == 10
    assert sentences.count("Emphysema is present.") == 1, "the hospital's and the table's are one wording"
    assert not [hit for hit in _hits(tmp_path / "hits.json") if hit["accession"] in {"R1", "R2", "P1"}], "names became pseudonyms"
    ran = command("search", index, "--keyword", "number", "--json", tmp_path / "scans.json")
    assert len(_hits(tmp_path / "scans.json")) == 8, "a report without a scan is no scan"
    assert command("index", "check", index).status == 0
    ran = command("index", "delete", index, "--patient", "P1", "--site-key", tmp_path / "site.key")
    assert (ran.status, "2 reports and 0 volumes deleted, 9 left" in ran.out) == (0, True), ran.err


def test_a_tables_report_of_a_scan_that_is_there_takes_the_place_of_its_own_and_leaves_with_its_patient(
    command, model_dir: Path, index: Path, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text("AccessionNo,report_text\nACC3,Corrected words.\nNEW,New words.\n")
    key = ("--site-key", tmp_path / "site.key")
    ran = command("index", tmp_path / "t.csv", "--model", model_dir, "--out", index, *key)
    assert (ran.status, "9 reports (both)" in ran.err) == (0, True), ran.err
    for keyword, labels in (("corrected", 2), ("new", 0), ('"number 3"', None)):
        ran = command("search", index, "--keyword", keyword, "--for", "reports", "--json", tmp_path / "hits.json")
        assert [len(hit["labels"]) for hit in _hits(tmp_path / "hits.json")] == ([] if labels is None else [labels]), keyword
    ran = command("index", "delete", index, "--patient", "PAT3", *key)
    assert (ran.status, "1 reports and 1 volumes deleted" in ran.out) == (0, True), ran.err


def test_an_index_may_hold_reports_alone(command, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sketch: Path) -> None:
    monkeypatch.setenv("THORACLE_CACHE", str(tmp_path / "cache"))
    table = tmp_path / "table.csv"
    table.write_text("id;Findings;Impression\na;Emphysema is present.;Lungs.\nb;Lung nodule is present.;None.\n")
    asked = ("index", table, "--id-column", "id", "--text-column", "Findings", "--text-column", "Impression", "--model", model_dir)
    ran = command(*asked, "--keep-identifiers", "--out", tmp_path / "alone")
    assert ran.status == 0, ran.err
    ran = command("search", tmp_path / "alone", "--scan", sketch, "--for", "reports", "--json", tmp_path / "hits.json")
    assert ran.status == 0, ran.err
    assert {hit["accession"] for hit in _hits(tmp_path / "hits.json")} == {"a", "b"}
    ran = command("search", tmp_path / "alone", "--keyword", "emphysema")
    assert (ran.status, "Nothing found" in ran.out) == (0, True), ran.err
    for text, fault in (
        ("id,report_text\na,x\na,y\n", "stands twice"),
        ("id,report_text\na,\n", "has no text"),
        ("id,other\na,x\n", "has no column"),
    ):
        table.write_text(text)
        ran = command("index", table, "--id-column", "id", "--model", model_dir, "--out", tmp_path / "none")
        assert (ran.status in {1, 2}, fault in ran.err) == (True, True), ran.err
    ran = command("index", table, "--split", "train", "--model", model_dir, "--out", tmp_path / "none")
    assert (ran.status, "take volumes of a prepared cohort" in ran.err) == (2, True), ran.err


def test_an_index_without_reports_says_so(command, index: Path, tmp_path: Path) -> None:
    for path in sorted((index / "reports").iterdir()):
        path.unlink()
    ran = command("search", index, "--keyword", "number", "--for", "reports")
    assert (ran.status, "the index keeps no reports" in ran.err) == (2, True), ran.err


def test_latents_of_reports_are_the_models_and_a_run_goes_on(command, model_dir: Path, tmp_path: Path) -> None:
    table, note = tmp_path / "table.csv", tmp_path / "note.txt"
    table.write_text("AccessionNo,report_text\na,Emphysema is present.\nb,Lung nodule (5) is present.\n")
    note.write_text("Cardiomegaly is present.\n")
    ran = command("embed", "--reports", table, note, "--model", model_dir, "--out", tmp_path / "l.parquet")
    assert ran.status == 0, ran.err
    assert "3 reports, 3 of them encoded now" in ran.err
    latents = read_latents(tmp_path / "l.parquet")
    assert latents.names == ("a", "b", "note")
    expected = load(model_dir).encode_text(["Emphysema is present.", "Lung nodule 5 is present.", "Cardiomegaly is present."])
    np.testing.assert_allclose(latents.array, expected.numpy(), atol=1e-6)
    table.write_text("AccessionNo,report_text\na,Emphysema is present.\nb,Another word.\n")
    ran = command("embed", "--reports", table, note, "--model", model_dir, "--out", tmp_path / "l.parquet")
    assert "3 reports, 1 of them encoded now" in ran.err
    with (tmp_path / "l.rows.csv").open() as file:
        assert [row["VolumeName"] for row in csv.DictReader(file)] == ["a", "b", "note"]
    for arguments in (("--reports", tmp_path / "no.txt"), ("--reports", note, note), ("--reports", note, "--tokens", tmp_path / "t")):
        assert command("embed", *arguments, "--model", model_dir, "--out", tmp_path / "x.parquet").status == 2
