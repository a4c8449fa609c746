from __future__ import annotations

import gzip
import json
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from thoracle import read
from thoracle.cohort.reports import Report
from thoracle.inference.demo.assets import write_model
from thoracle.inference.model import load
from thoracle.inference.prepare import prepare
from thoracle.models.citations import CT_CLIP
from thoracle.search.open_index import open_index_for_writing
from thoracle.search.record import IndexedVolume
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
    assert len(hits) == 7
    assert set(hits[0]["ranks"]) == {"text", "scan", "report", "keyword"}
    assert not [hit for hit in hits if "Number 4." in hit["sentence"]], "what is excluded is no hit of another part either"
    fused = _hits(command, index, *parts[:-1], "5")
    assert {"text", "scan", "report"} == set(next(hit for hit in fused if "Number 4." in hit["sentence"])["ranks"])
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
    assert f"To be cited: {CT_CLIP}." in page
    assert (tmp_path / "sheet.html").stat().st_mode & 0o777 == 0o600, "it holds words of reports"
    ran = command("search", index, "--keyword", '"number 5"', "--json", tmp_path / "hits.json")
    assert "Number 5." in (tmp_path / "hits.json").read_text()
    assert (tmp_path / "hits.json").stat().st_mode & 0o777 == 0o600
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


def test_what_a_report_holds_for_a_terminal_never_reaches_it(command, index: Path) -> None:
    evil = "Zebrafish \x1b]0;PWNED\x07\x1b[2J\x9b31m\r\u202eelam on\u202c [red]x[/red].\u2028Nothing else."
    with open_index_for_writing(str(index)) as opened:
        records = opened.records(opened.ids())
        number, record = next(iter(records.items()))
        changed = replace(record, report=Report(findings=evil), accession="A\x1b[2J1")
        opened.add([IndexedVolume(record=changed, latent_L=opened.latents([number])[0])])
    ran = command("search", index, "--keyword", "zebrafish")
    assert ran.status == 0, ran.err
    assert "Zebrafish" in ran.out
    assert "[red]x[/red]" in ran.out, "markup is text"
    assert not [c for c in ran.out + ran.err if c in "\x1b\x07\x9b\r\u202e\u202c\u2028"]
    failed = command("search", index, "--similar-to", "A\x1b[2J9")
    assert (failed.status, "\x1b" in failed.err, "A" in failed.err) == (2, False, True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        *((("--keyword", "number", option, ""), f"{option} is empty") for option in ("--age", "--from", "--to", "--scanner", "--text")),
        (("--similar-to", " "), "--similar-to is empty"),
        (("--keyword", ""), "--keyword is empty"),
        (("--keyword", "_"), "there is no word to look for"),
        (("--similar-to", "*1"), "no scan '*1' in the index"),
        (("--keyword", "number", "--age", "60-40"), "no age is between 60 and 40"),
        (("--keyword", "number", "--from", "2019-13-99"), "expected a date like"),
        (("--keyword", "number", "--from", "2020", "--to", "2019"), "no date is from 2020 to 2019"),
        (("--keyword", "number", "--exclude", "patient"), "words are nobody's"),
        (("--keyword", "number", "--weight", "text=2"), "a weight of text is given, and the query has no text: its parts are keyword"),
        (("--keyword", "number", "--label", "Emphysema", "--without-label", "Emphysema"), "with Emphysema and without it"),
    ],
)
def test_what_can_find_nothing_is_said(command, index: Path, arguments: tuple[str, ...], says: str) -> None:
    ran = command("search", index, *arguments)
    assert (ran.status, says in ran.err) == (2, True), ran.err


def test_the_patient_of_a_scan_file_is_excluded_though_its_bytes_are_others(
    command, index: Path, hospital: Path, model_dir: Path, sketch: Path, tmp_path: Path
) -> None:
    """The scan is in the index under a patient with another scan; the file that is asked with is the same voxels, packed otherwise."""
    model = load(model_dir, device="cpu")
    latent = model.volume_latent(prepare(read(sketch), model.preprocess))
    with open_index_for_writing(str(index)) as opened:
        record = next(iter(opened.records(opened.ids()).values()))
        names = {"volume": "x", "scan": "x", "accession": "x"}
        opened.add([IndexedVolume(record=replace(record, **names, source_sha256="f" * 64), latent_L=latent)])
        patient = record.patient
    unpacked = tmp_path / "same.nii"
    unpacked.write_bytes(gzip.decompress(sketch.read_bytes()))
    asked = (index, "--scan", unpacked, "--top", "99")
    assert patient in {hit["patient"] for hit in _hits(command, *asked)}
    assert patient not in {hit["patient"] for hit in _hits(command, *asked, "--exclude", "patient")}
    left = {hit["accession"] for hit in _hits(command, *asked, "--exclude", "scan")}
    assert ("x" in left, record.accession in left) == (False, True)


def _counts(command, *arguments: object) -> dict:
    ran = command("search", *arguments, "--count", "--json", "-")
    assert ran.status == 0, ran.err
    return json.loads(ran.out)


def test_a_cohort_is_counted_and_listed(command, index: Path, tmp_path: Path) -> None:
    counts = _counts(command, index, "--by", "label", "--by", "sex", "--keyword", "number NOT 4")
    assert (counts["scans"], counts["patients"], counts["volumes"]) == (7, 7, 8)
    assert counts["groups"]["label"][ABNORMALITIES[4]] == {"scans": 1, "patients": 1}
    assert counts["groups"]["sex"] == {"unknown": {"scans": 7, "patients": 7}}
    ran = command("search", index, "--count", "--by", "label", "--label", ABNORMALITIES[4])
    assert "2 scans of 2 patients match (2 volumes)." in ran.out
    assert f"label {ABNORMALITIES[4]} 2 2" in ran.out
    assert _counts(command, index)["volumes"] == 9, "without keywords and filters the whole index"
    ran = command("search", index, "--all", "--csv", tmp_path / "list.csv", "--keyword", "number NOT 4")
    assert (ran.status, "7 scans of 7 patients match (8 volumes)." in ran.out) == (0, True), ran.err
    assert len((tmp_path / "list.csv").read_text().splitlines()) == 9
    assert (tmp_path / "list.csv").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--count", "--text", "nodule"), "--text ranks cases"),
        (("--count", "--similar-to", "ACC0", "--top", "3"), "--similar-to, --top ranks cases"),
        (("--all", "--keyword", "number"), "--all goes with --csv FILE"),
        (("--csv", "x.csv", "--keyword", "number"), "--all goes with --csv FILE"),
        (("--by", "sex", "--keyword", "number"), "--by goes with --count"),
        (("--count", "--by", "weight"), "cases are not counted by 'weight'"),
        (("--count", "--keyword", "_"), "there is no word to look for"),
    ],
)
def test_counts_and_lists_take_keywords_and_filters_alone(command, index: Path, arguments: tuple[str, ...], says: str) -> None:
    ran = command("search", index, *arguments)
    assert (ran.status, says in ran.err) == (2, True), ran.err


def test_keywords_import_neither_torch_nor_what_reads_scans(index: Path) -> None:
    code = (
        "import sys\n"
        "from thoracle.cli.app import main\n"
        "try:\n    main()\n"
        "finally:\n"
        "    heavy = {'torch', 'pydicom', 'scipy', 'faiss', 'qdrant_client', 'transformers'}\n"
        "    print(*sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, "search", str(index), "--keyword", "number"], capture_output=True, text=True, check=True
    )
    assert "Number" in ran.stdout
    assert ran.stderr.strip() == ""
