"""`thoracle index copy`: the same records in another place, which answers alike; only what is new is copied again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from thoracle.search.open_index import open_index
from thoracle.types import ABNORMALITIES


def _volumes(command, *arguments: object) -> list[str]:
    ran = command("search", *arguments, "--json", "-")
    assert ran.status == 0, ran.err
    return [hit["volume"] for hit in json.loads(ran.out)["hits"]]


def test_a_copy_holds_the_same_and_answers_alike(command, index: Path, tmp_path: Path) -> None:
    ran = command("index", "copy", index, tmp_path / "copy")
    assert ran.status == 0, ran.err
    assert "9/9" in ran.err
    assert f"9 volumes: {tmp_path / 'copy'}" in ran.err
    with open_index(str(index)) as old, open_index(str(tmp_path / "copy")) as new:
        assert new.settings == old.settings
        assert new.records(new.ids()) == old.records(old.ids())
        assert np.array_equal(new.latents(new.ids()), old.latents(old.ids()))
        assert new.thumbnails(new.ids()) == old.thumbnails(old.ids())
    asked = ("--text", "nodule", "--keyword", "number NOT 4")
    assert _volumes(command, tmp_path / "copy", *asked) == _volumes(command, index, *asked)


def test_a_server_answers_as_the_folder_does(command, index: Path, tmp_path: Path) -> None:
    pytest.importorskip("qdrant_client")
    server = f"qdrant:{tmp_path}/server/cases"
    assert command("index", "copy", index, server).status == 0
    for parts in (
        ("--text", "nodule"),
        ("--keyword", '"number 3"'),
        ("--text", "nodule", "--label", ABNORMALITIES[4]),
        ("--text", "nodule", "--without-label", ABNORMALITIES[4]),
    ):
        assert _volumes(command, server, *parts) == _volumes(command, index, *parts) != []
    both = ("--text", "nodule", "--keyword", "number NOT 4")  # "number" ranks reports alike, and fusion takes either order of them
    assert sorted(_volumes(command, server, *both)) == sorted(_volumes(command, index, *both)) != []


def test_a_second_run_copies_only_what_is_missing(command, index: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    assert command("index", "copy", index, copy).status == 0
    whole = (copy / "index.sqlite").read_bytes()
    assert command("index", "copy", index, copy).status == 0
    assert (copy / "index.sqlite").read_bytes() == whole
    assert "7 left" in command("index", "delete", copy, "--patient", "PAT0", "--site-key", tmp_path / "site.key").out
    with open_index(str(copy)) as opened:
        before = opened.records(opened.ids())
    assert f"9 volumes: {copy}" in command("index", "copy", index, copy).err
    with open_index(str(copy)) as opened:
        after = opened.records(opened.ids())
    assert (len(before), len(after)) == (7, 9)
    assert before.items() <= after.items(), "what was there keeps its number"


def test_an_index_of_another_key_takes_no_copy(command, index: Path, hospital: Path, model_dir: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    assert command("index", hospital, "--model", model_dir, "--out", other, "--keep-identifiers").status == 0
    ran = command("index", "copy", index, other)
    assert (ran.status, "IndexMismatch" in ran.err) == (1, True), ran.err
    assert all(volume.startswith("PAT") for volume in _volumes(command, other, "--keyword", "number"))


def test_what_cannot_be_copied_makes_no_folder(command, index: Path, tmp_path: Path) -> None:
    ran = command("index", "copy", tmp_path / "nowhere", tmp_path / "copy")
    assert (ran.status, "nowhere: holds no index" in ran.err) == (1, True), ran.err
    assert not (tmp_path / "copy").exists()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").write_text("mine")
    ran = command("index", "copy", index, tmp_path / "taken")
    assert (ran.status, "taken: is not empty and holds no index" in ran.err) == (2, True), ran.err
    ran = command("index", "copy", index, "http://127.0.0.1:1")
    assert (ran.status, "expected http://HOST:6333/NAME" in ran.err) == (2, True), ran.err
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["notes.txt"]
