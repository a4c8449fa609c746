"""What has begun and not ended is told by the next server, once."""

from __future__ import annotations

from pathlib import Path

from thoracle.serving.jobs.journal import JobJournal, LostJob


def test_what_did_not_end_is_lost_and_told_once(tmp_path: Path) -> None:
    journal = JobJournal(tmp_path)
    assert journal.lost == ()
    journal.begin("a", kind="read", scan="s")
    journal.begin("b", kind="map", scan="t")
    journal.end("a")
    with (tmp_path / "jobs.jsonl").open("a") as file:
        file.write('{"begin": "c", "kin')  # a kill in the middle of a line
    assert JobJournal(tmp_path).lost == (LostJob(id="b", kind="map", scan="t"),)
    assert JobJournal(tmp_path).lost == ()


def test_after_an_orderly_end_nothing_is_lost(tmp_path: Path) -> None:
    journal = JobJournal(tmp_path)
    journal.begin("a", kind="read", scan="s")
    journal.close()
    assert not list(tmp_path.iterdir())


def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    JobJournal(tmp_path).begin("a", kind="read", scan="s")
    assert (tmp_path / "jobs.jsonl").stat().st_mode & 0o077 == 0
