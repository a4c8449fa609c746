"""`thoracle index COHORT`: what becomes searchable, under which names, what a second run does and what is refused."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from thoracle.cohort.manifest import open_cohort
from thoracle.search.open_index import open_index

NOTICE = "Research use only. Not a medical device."


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the user's models nor the user's key."""
    monkeypatch.setenv("THORACLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("THORACLE_SITE_KEY", str(tmp_path / "default.key"))


def _content(index: Path) -> bytes:
    return b"".join(path.read_bytes() for path in index.rglob("*") if path.is_file())


def test_no_name_of_a_patient_is_in_any_file(index: Path) -> None:
    content = _content(index)
    assert b"Number" in content
    assert re.findall(rb"PAT\d|ACC\d|_SCAN", content) == []


def test_volumes_are_counted_and_untrained_weights_are_named(command, hospital: Path, model_dir: Path, tmp_path: Path) -> None:
    ran = command("index", hospital, "--model", model_dir, "--out", tmp_path / "index", "--keep-identifiers")
    assert ran.status == 0, ran.err
    assert "9/9" in ran.err
    assert "9 volumes, 0 failed" in ran.err
    assert "UNTRAINED WEIGHTS: what is found means nothing." in ran.err
    assert NOTICE in ran.err
    with open_index(str(tmp_path / "index")) as opened:
        assert {record.accession for record in opened.records(opened.ids()).values()} == {f"ACC{number}" for number in range(8)}
        assert len(opened.thumbnails(opened.ids())) == 9
    assert not (tmp_path / "default.key").exists(), "of real names no key is made"


def test_add_is_the_verb_where_none_is_named(command, hospital: Path, model_dir: Path, tmp_path: Path) -> None:
    options = ("--model", model_dir, "--no-thumbnails")
    assert command("index", "add", hospital, *options, "--out", tmp_path / "named").status == 0
    assert command("index", hospital, *options, "--out", tmp_path / "unnamed").status == 0
    records = []
    for name in ("named", "unnamed"):
        with open_index(str(tmp_path / name)) as opened:
            records.append(sorted(opened.records(opened.ids()).values(), key=lambda record: record.volume))
            assert opened.thumbnails(opened.ids()) == {}
    assert records[0] == records[1], "the same key of the site, the same pseudonyms"
    assert re.fullmatch(r"[0-9a-f]{64}", (tmp_path / "default.key").read_text())


def test_the_recall_of_approximate_lists_is_said_of_volumes_and_of_texts(command, hospital: Path, model_dir: Path, tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    ran = command("index", hospital, "--model", model_dir, "--out", tmp_path / "index", "--approximate")
    assert ran.status == 0, ran.err
    sentence = r"approximate lists find [01]\.\d{3} of the 10 nearest to volumes, [01]\.\d{3} to texts \(\d+ of 9 probed\)"
    assert re.search(sentence, ran.err), ran.err
    assert re.search(sentence, command("index", "check", tmp_path / "index").out)


def test_only_the_named_splits_are_added(command, noise: Path, model_dir: Path, tmp_path: Path) -> None:
    asked = ("index", noise, "--model", model_dir, "--out", tmp_path / "index")
    assert "2 volumes, 0 failed" in command(*asked, "--split", "train").err
    assert "19 volumes, 0 failed" in command(*asked, "--split", "train", "--split", "valid").err


def test_a_second_run_changes_nothing(command, index: Path, hospital: Path, model_dir: Path, tmp_path: Path) -> None:
    before = (index / "index.sqlite").read_bytes()
    again = command("index", hospital, "--model", model_dir, "--out", index, "--site-key", tmp_path / "site.key")
    assert (again.status, (index / "index.sqlite").read_bytes() == before) == (0, True)


def test_another_key_does_not_go_on(command, index: Path, hospital: Path, model_dir: Path, tmp_path: Path) -> None:
    before = (index / "index.sqlite").read_bytes()
    ran = command("index", hospital, "--model", model_dir, "--out", index, "--site-key", tmp_path / "another.key")
    assert (ran.status, "IndexMismatch" in ran.err) == (1, True), ran.err
    assert "Give another --out" in ran.err
    assert "--keep-identifiers" in ran.err
    assert (index / "index.sqlite").read_bytes() == before


def test_a_damaged_volume_ends_in_1_and_is_added_once_it_is_mended(command, hospital: Path, model_dir: Path, tmp_path: Path) -> None:
    cohort = shutil.copytree(hospital, tmp_path / "cohort")
    cached = cohort / "cache" / "PAT3_1.vol"
    whole = cached.read_bytes()
    cached.write_bytes(whole[:-1])
    asked = ("index", cohort, "--model", model_dir, "--out", tmp_path / "index")
    ran = command(*asked)
    assert (ran.status, "8 volumes, 1 failed" in ran.err) == (1, True), ran.err
    pseudonym = r"[0-9a-f]{12}_[0-9a-f]{8}_[0-9a-f]{8}"
    assert re.search(rf"{pseudonym}: its cached volume is damaged; `thoracle prepare --verify` mends it\.", ran.err)
    assert "PAT3" not in ran.err
    cached.write_bytes(whole)
    again = command(*asked)
    assert (again.status, "9 volumes, 0 failed" in again.err, "1/1" in again.err) == (0, True, True), again.err


def test_what_makes_no_sense_ends_with_2(command, hospital: Path, model_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").write_text("mine")
    index = tmp_path / "index"
    for arguments, words in (
        ((hospital, "--out", index), "no --model was given, and the demo has not run"),
        ((hospital, "--model", model_dir, "--out", index, "--split", "all"), "no split 'all'. There are train, dev, valid, test."),
        ((tmp_path / "nowhere", "--model", model_dir, "--out", index), "nowhere"),
        ((hospital, "--model", model_dir, "--out", tmp_path / "taken"), "is not empty and holds no index"),
        ((hospital, "--model", model_dir, "--out", index, "--site-key", index / "site.key"), "the site key lies in"),
    ):
        ran = command("index", *arguments)
        assert (ran.status, words in ran.err) == (2, True), ran.err
    assert not index.exists()


def test_a_cohort_prepared_for_another_model_is_refused(command, hospital: Path, model_dir: Path, tmp_path: Path) -> None:
    cohort = shutil.copytree(hospital, tmp_path / "cohort")
    settings = json.loads((cohort / "cohort.json").read_text())
    settings["preprocess"]["spacing"] = [1.0, 1.0, 1.0]
    (cohort / "cohort.json").write_text(json.dumps(settings))
    assert open_cohort(cohort).preprocess.spacing == (1.0, 1.0, 1.0)
    ran = command("index", cohort, "--model", model_dir, "--out", tmp_path / "index")
    assert ran.status == 1
    assert "was prepared with another preprocessing than the model's" in ran.err
    assert not (tmp_path / "index").exists()


def test_what_a_search_lists_is_indexed_alone_though_its_names_are_pseudonyms(
    command, index: Path, hospital: Path, model_dir: Path, tmp_path: Path
) -> None:
    ran = command("search", index, "--keyword", "number NOT (4 OR 5)", "--all", "--csv", tmp_path / "list.csv")
    assert ran.status == 0, ran.err
    assert "PAT" not in (tmp_path / "list.csv").read_text()
    asked = ("index", hospital, "--model", model_dir, "--keep-identifiers", "--only")
    ran = command(*asked, tmp_path / "list.csv", "--out", tmp_path / "few")
    assert (ran.status, "7 volumes are listed in list.csv." in ran.err, "7 volumes, 0 failed" in ran.err) == (0, True, True), ran.err
    with open_index(str(tmp_path / "few")) as opened:
        patients = {record.patient for record in opened.records(opened.ids()).values()}
    assert patients == {f"PAT{number}" for number in (0, 1, 2, 3, 6, 7)}
    (tmp_path / "some.csv").write_text("VolumeName\nPAT1_1\nPAT9_1\n")
    ran = command(*asked, tmp_path / "some.csv", "--out", tmp_path / "one")
    assert (ran.status, "1 volumes are listed in some.csv; 1 of the 2 listed are not here." in ran.err) == (0, True), ran.err
    (tmp_path / "none.csv").write_text("VolumeName\nPAT9_1\n")
    ran = command(*asked, tmp_path / "none.csv", "--out", tmp_path / "nothing")
    assert (ran.status, "lists 1 volumes, and none of them is here" in ran.err) == (2, True), ran.err
    assert not (tmp_path / "nothing").exists()


def test_findings_in_any_words_are_kept_filtered_and_shown(command, hospital: Path, model_dir: Path, tmp_path: Path) -> None:
    out, asked = tmp_path / "index", tmp_path / "asked.yaml"
    asked.write_text("Rib fracture: [A rib is broken., Ribs are whole.]\n")
    base = ("index", hospital, "--model", model_dir, "--no-thumbnails", "--out", out)
    ran = command(*base, "--finding", "Pneumothorax", "--findings", asked)
    assert ran.status == 0, ran.err
    assert "2 findings: probabilities of 9 volumes are new. Not calibrated" in ran.err
    again = command(*base)
    assert (again.status, "probabilities" in again.err) == (0, False)
    with open_index(str(out)) as opened:
        records = list(opened.records(opened.ids()).values())
    assert all([name for name, _ in record.scores] == ["Pneumothorax", "Rib fracture"] for record in records), "a second run leaves them"
    middle = sorted(dict(record.scores)["Rib fracture"] for record in records)[4]
    expected = {record.volume for record in records if dict(record.scores)["Rib fracture"] >= middle}
    ran = command("search", out, "--scored", f"Rib fracture={middle}", "--all", "--csv", tmp_path / "passing.csv")
    assert ran.status == 0, ran.err
    assert f"({len(expected)} volumes)" in ran.out
    ran = command("search", out, "--keyword", "number", "--scored", f"Rib fracture={middle}", "--json", "-")
    hits = json.loads(ran.out)["hits"]
    assert hits
    assert all(hit["scores"]["Rib fracture"] >= middle for hit in hits)
    assert command("search", out, "--keyword", "number", "--scored", "Rib fracture=2").status == 2
    misspelt = command("search", out, "--scored", "Rib fractures=0.1", "--count")
    assert (misspelt.status, "has a probability of 'Rib fractures'" in misspelt.err) == (2, True)
    own = command(*base, "--finding", "Emphysema")
    assert "1 findings: probabilities of 9 volumes are new. Not calibrated" in own.err, "a label of the model is not either"


def test_findings_need_a_model_with_words(command, hospital: Path, model_dir: Path, tmp_path: Path) -> None:
    bare = shutil.copytree(model_dir, tmp_path / "bare")
    shutil.rmtree(bare / "tokenizer")
    ran = command("index", hospital, "--model", bare, "--out", tmp_path / "index", "--finding", "Pneumothorax")
    assert (ran.status, "TokenizerMissing" in ran.err) == (1, True), ran.err
    assert not (tmp_path / "index").exists()
