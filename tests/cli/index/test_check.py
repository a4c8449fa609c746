"""`thoracle index check`: a sound index is said to be so, its files are made anew, and damage is named."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest


def test_a_sound_index_is_said_to_be_so_as_often_as_it_is_checked(command, index: Path) -> None:
    before = {path: path.read_bytes() for path in index.rglob("*") if path.is_file()}
    for _ in range(2):
        ran = command("index", "check", index)
        assert ran.status == 0, ran.err
        assert ran.out == f"9 volumes; records, latents and words agree: {index} 8 reports; records, latents and words agree. "
    assert {path: path.read_bytes() for path in index.rglob("*") if path.is_file()} == before


def test_a_copy_of_the_database_that_is_gone_is_made_anew(command, index: Path) -> None:
    vectors = index / "vectors.bin"
    before = vectors.read_bytes()
    vectors.unlink()
    assert command("index", "check", index).status == 0
    assert vectors.read_bytes()[64:] == before[64:], "all but the header, which is of one pair of files"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("DELETE FROM vector WHERE id = 1", "9 records, 8 of 8 latents and 9 of 9 reports are theirs"),
        ("INSERT INTO words(words, rowid, findings, impression) VALUES ('delete', 1, 'nothing', '')", "IndexDamaged"),
    ],
    ids=["latent", "words"],
)
def test_records_without_their_latents_or_words_end_with_1(command, index: Path, damage: str, words: str) -> None:
    with closing(sqlite3.connect(index / "index.sqlite")) as database, database:
        database.execute(damage)
    ran = command("index", "check", index)
    assert (ran.status, "IndexDamaged" in ran.err, words in ran.err, ran.out) == (1, True, True, ""), ran.err


def test_where_there_is_no_index_none_is_made(command, tmp_path: Path) -> None:
    ran = command("index", "check", tmp_path / "nowhere")
    assert (ran.status, "nowhere: holds no index. Make one: thoracle index COHORT" in ran.err) == (1, True), ran.err
    assert not (tmp_path / "nowhere").exists()
