from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thoracle.errors import IndexBusy, IndexMismatch, IndexMissing, InputError
from thoracle.search.keywords import parse
from thoracle.search.local.database import DATABASE
from thoracle.search.local.index import LocalIndex, open_for_writing
from thoracle.search.local.vectors import VECTORS
from thoracle.search.record import Filters

_ALL = Filters()


def test_a_changed_record_takes_the_place_of_the_old_one_everywhere(index: LocalIndex, make) -> None:
    before = index.ids_where(volume="v3")
    with open_for_writing(index.folder) as begun:
        begun.add([make(3, words="Zebrafish.")])
    after = index.ids_where(volume="v3")
    assert after != before
    assert [n for n, _ in index.keyword_search(parse("zebrafish"), k=9, filters=_ALL)] == after
    assert len(index) == len(index.vectors().live_rows) == 40
    index.check()


def test_a_reader_sees_what_a_writer_has_finished(index: LocalIndex, make) -> None:
    with open_for_writing(index.folder) as begun:
        begun.add([make(77)])
        assert index.vector_search(make(77).latent_L, k=1, filters=_ALL)[0][0] == index.ids_where(volume="v77")[0]
        with pytest.raises(IndexBusy, match="another process"), open_for_writing(index.folder):
            pass


def test_a_filter_that_was_asked_for_before_passes_what_has_come_and_not_what_has_gone(index: LocalIndex, make) -> None:
    passing = Filters(sex="F")
    before = {number for number, _ in index.vector_search(make(0).latent_L, k=99, filters=passing)}
    assert before == {number for number, record in index.records(index.ids()).items() if record.facts.sex == "F"}
    assert {number for number, _ in index.vector_search(make(0).latent_L, k=99, filters=Filters(sex="M"))}.isdisjoint(before)
    gone = min(before)
    with open_for_writing(index.folder) as writer:
        writer.add([make(number) for number in range(100, 104)])
        writer.delete([gone])
    after = {number for number, _ in index.vector_search(make(0).latent_L, k=99, filters=passing)}
    assert after == {number for number, record in index.records(index.ids()).items() if record.facts.sex == "F"}
    assert gone not in after
    assert len(after) > len(before) - 1
    for least in range(40):  # more filters than are remembered
        index.vector_search(make(0).latent_L, k=1, filters=Filters(age_from=least))
    assert {number for number, _ in index.vector_search(make(0).latent_L, k=99, filters=passing)} == after


def test_an_index_of_another_model_takes_nothing(index: LocalIndex, settings: dict[str, Any], tmp_path: Path) -> None:
    for name, value in (("model", "x"), ("preprocess", {"spacing": [2, 1, 1]})):
        with pytest.raises(IndexMismatch, match=f"another {name}"), open_for_writing(index.folder, {**settings, name: value}):
            pass
    with pytest.raises(IndexMissing, match="thoracle index COHORT"):
        LocalIndex(tmp_path / "nowhere")
    with pytest.raises(IndexMissing), open_for_writing(tmp_path / "nowhere"):
        pass
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(InputError, match="not empty"), open_for_writing(tmp_path, settings):
        pass


def test_an_index_of_another_schema_is_refused_with_the_command_that_makes_it_anew(index: LocalIndex) -> None:
    with sqlite3.connect(index.folder / DATABASE) as database:
        database.execute("UPDATE meta SET value = replace(value, 'thoracle.index/4', 'thoracle.index/2') WHERE key = 'settings'")
    with pytest.raises(IndexMismatch, match=r"thoracle\.index/2.*`thoracle index COHORT --model MODEL`"):
        LocalIndex(index.folder)


def test_latents_that_are_none_are_refused(index: LocalIndex, make) -> None:
    addition = make(50)
    with open_for_writing(index.folder) as begun:
        for latent in (addition.latent_L[:-1], np.full(8, np.nan, np.float32), np.zeros(8, np.float32)):
            object.__setattr__(addition, "latent_L", latent)
            with pytest.raises(InputError, match="8 finite numbers, not all zero"):
                begun.add([make(51), addition])
        assert begun.ids_where(volume="v51") == []
    assert index.ids_where(volume="v50") == []


def test_files_and_a_new_folder_are_their_owners_alone(index: LocalIndex, tmp_path: Path, settings: dict[str, Any], make) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    for folder, rights in ((index.folder, 0o700), (shared, 0o755)):
        with open_for_writing(folder, settings) as begun:
            begun.add([make(number) for number in range(40, 45)])
            begun.delete(begun.ids_where(volume="v41"))
            with begun._database.change():
                begun._database.add([make(45)])
                assert {path.stat().st_mode & 0o077 for path in folder.glob("index.*")} == {0}
        assert folder.stat().st_mode & 0o777 == rights
        names = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir() if path.name != ".lock"}
        assert names == dict.fromkeys((DATABASE, VECTORS, "vectors.rows"), 0o600)
    (index.folder / DATABASE).chmod(0o644)
    with open_for_writing(index.folder):
        pass
    assert (index.folder / DATABASE).stat().st_mode & 0o777 == 0o600, "also one of before"


def test_adding_one_writes_the_others_vectors_no_more(index: LocalIndex, make) -> None:
    path = index.folder / VECTORS
    before, file = path.read_bytes(), path.stat().st_ino
    with open_for_writing(index.folder) as begun:
        begun.add([make(50)])
        assert (path.read_bytes()[: len(before)], len(path.read_bytes())) == (before, len(before) + 8 * 4), "while the session goes on"
    assert path.stat().st_ino == file


def test_latents_that_are_not_what_was_written_are_made_again_by_a_check(index: LocalIndex, make) -> None:
    path = index.folder / VECTORS
    content = path.read_bytes()
    path.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    with open_for_writing(index.folder) as begun:
        begun.check()
    rows = LocalIndex(index.folder).vectors()
    assert np.array_equal(rows.array, index.latents(index.ids()))


@pytest.mark.slow
def test_kill_9_at_100_points_loses_no_acknowledged_record(tmp_path: Path) -> None:
    script = Path(__file__).with_name("killed.py")
    done = subprocess.run([sys.executable, script, tmp_path / "index", "100"], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["kills"] == 100
    assert told["wrong"] == []
    assert told["acknowledged"] > 100
    assert told["erased"] > 3


def _fill_disks(*arguments: Path) -> None:
    script = Path(__file__).with_name("full_disk.py")
    done = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["wrong"] == []
    assert told["refused"] > 10
    assert told["passed"] > 0
    assert set(told["errors"]) == {"IndexUnwritable", "ErasurePending"}


def test_a_file_that_cannot_grow_leaves_the_old_state_and_says_so(tmp_path: Path) -> None:
    _fill_disks(tmp_path / "index")


def test_a_full_disk_leaves_the_old_state_and_says_so(tmp_path: Path, small_disk: Path) -> None:
    _fill_disks(tmp_path / "index", small_disk)
