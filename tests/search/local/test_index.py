from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thoracle.errors import IndexBusy, IndexMismatch, IndexMissing, InputError
from thoracle.search.keywords import parse
from thoracle.search.local.index import DATABASE, VECTORS, LocalIndex, open_for_writing
from thoracle.search.record import Filters

_ALL = Filters()


def test_a_changed_record_takes_the_place_of_the_old_one_everywhere(index: LocalIndex, make) -> None:
    before = index.ids_where(volume="v3")
    with open_for_writing(index.folder) as begun:
        begun.add([make(3, words="Zebrafish.")])
    after = index.ids_where(volume="v3")
    assert after != before
    assert [n for n, _ in index.keyword_search(parse("zebrafish"), k=9, filters=_ALL)] == after
    assert len(index) == len(index.vectors().ids) == 40
    index.check()


def test_files_are_made_again_from_the_database(index: LocalIndex, make) -> None:
    query = make(5).latent_L
    expected = index.vector_search(query, k=40, filters=_ALL)
    path = index.folder / VECTORS
    for content in (path.read_bytes()[:-1], b"", path.read_bytes().replace(b"THORVEC1", b"THORVEC2")):
        path.write_bytes(content)
        reader = LocalIndex(index.folder)
        assert reader.vector_search(query, k=40, filters=_ALL) == expected, "without the file"
        with open_for_writing(index.folder):
            pass
        assert LocalIndex(index.folder).vector_search(query, k=40, filters=_ALL) == expected
        assert len(path.read_bytes()) > 40 * 8 * 4


def test_a_reader_sees_what_a_writer_has_finished(index: LocalIndex, make) -> None:
    with open_for_writing(index.folder) as begun:
        begun.add([make(77)])
        assert index.vector_search(make(77).latent_L, k=1, filters=_ALL)[0][0] == index.ids_where(volume="v77")[0]
        with pytest.raises(IndexBusy, match="another process"), open_for_writing(index.folder):
            pass


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
        database.execute("UPDATE meta SET value = replace(value, 'thoracle.index/3', 'thoracle.index/2') WHERE key = 'settings'")
    with pytest.raises(IndexMismatch, match=r"thoracle\.index/2.*`thoracle index COHORT --model MODEL`"):
        LocalIndex(index.folder)


def test_latents_that_are_none_are_refused(index: LocalIndex, make) -> None:
    addition = make(50)
    with open_for_writing(index.folder) as begun:
        for latent in (addition.latent_L[:-1], np.full(8, np.nan, np.float32)):
            object.__setattr__(addition, "latent_L", latent)
            with pytest.raises(InputError, match="8 finite numbers"):
                begun.add([addition])
    assert index.ids_where(volume="v50") == []


def _files(folder: Path) -> bytes:
    return b"\0".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("lists", [False, True])
def test_nothing_of_a_deleted_patient_is_left_in_any_file(tmp_path: Path, settings: dict[str, Any], make, lists: bool) -> None:
    if lists:
        pytest.importorskip("faiss")
    secret = ("quagmire", "wyvernlike", "xerographica")
    theirs = [make(n, words=f"{' '.join(secret)}{n}qz.", patient="ZZSECRETZZ", volume=f"ZZSECRETZZ{n}") for n in (300, 301)]
    with open_for_writing(tmp_path / "index", settings, lists=lists) as begun:
        for n in range(0, 300, 20):  # their pages are split and balanced around theirs
            begun.add([make(m, words=f"filler{m} " * 40) for m in range(n, n + 20)])
            begun.add(theirs)
    needles = [word.encode() for word in secret] + [b"300qz", b"301qz", b"ZZSECRETZZ"]
    needles += (
        [one.latent_L.tobytes() for one in theirs]
        + [one.thumbnail for one in theirs]
        + [one.latent_L.astype("<f2").tobytes() for one in theirs]
    )
    before = _files(tmp_path / "index")
    assert [needle for needle in needles[: 10 + 2 * lists] if needle not in before] == []
    with open_for_writing(tmp_path / "index") as begun:
        begun.delete(begun.ids_where(patient="ZZSECRETZZ"))
    after = _files(tmp_path / "index")
    halves = [part for needle in needles for part in (needle[: len(needle) // 2 + 2], needle[-(len(needle) // 2 + 2) :])]
    assert [part for part in [*needles, *halves] if part in after] == []
    left = LocalIndex(tmp_path / "index")
    left.check()
    assert (len(left), left.recall is not None) == (300, lists)


def test_kill_9_at_100_points_loses_no_acknowledged_record(tmp_path: Path) -> None:
    script = Path(__file__).with_name("killed.py")
    done = subprocess.run([sys.executable, script, tmp_path / "index", "100"], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["kills"] == 100
    assert told["wrong"] == []
    assert told["acknowledged"] > 100
    assert told["erased"] > 3


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """4 MB that can really be full; only the administrator of a machine may mount it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("no rights to mount a small disk")
    yield disk
    subprocess.run(["umount", disk], check=True)


def _fill_disks(*arguments: Path) -> None:
    script = Path(__file__).with_name("full_disk.py")
    done = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["wrong"] == []
    assert told["refused"] > 10
    assert told["passed"] > 0
    assert set(told["errors"]) == {"IndexUnwritable"}


def test_a_file_that_cannot_grow_leaves_the_old_state_and_says_so(tmp_path: Path) -> None:
    _fill_disks(tmp_path / "index")


def test_a_full_disk_leaves_the_old_state_and_says_so(tmp_path: Path, small_disk: Path) -> None:
    _fill_disks(tmp_path / "index", small_disk)
