from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thoracle.errors import ErasurePending, IndexBusy, IndexMismatch, IndexMissing, InputError
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
    assert len(index) == len(index.vectors().live_rows) == 40
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
        for latent in (addition.latent_L[:-1], np.full(8, np.nan, np.float32), np.zeros(8, np.float32)):
            object.__setattr__(addition, "latent_L", latent)
            with pytest.raises(InputError, match="8 finite numbers, not all zero"):
                begun.add([make(51), addition])
        assert begun.ids_where(volume="v51") == []
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


@pytest.mark.parametrize("lists", [False, True])
def test_an_updated_report_leaves_no_word_latent_or_picture_of_the_old_one(
    tmp_path: Path, settings: dict[str, Any], make, lists: bool
) -> None:
    if lists:
        pytest.importorskip("faiss")
    folder = tmp_path / "index"
    with open_for_writing(folder, settings, lists=lists) as begun:
        begun.add([make(number, words=f"filler{number} " * 40) for number in range(100)])
        old, new = make(7, words="Quagmire of NAMEOFAPATIENT."), make(107, words="Corrected.", volume="v7")
        begun.add([old])
    needles = [b"Quagmire", b"quagmir", b"NAMEOFAPATIENT", b"nameofapati", old.latent_L.tobytes(), old.thumbnail]
    needles += [old.latent_L.astype("<f2").tobytes()] * lists
    assert [needle for needle in needles if needle not in _files(folder)] == []
    with open_for_writing(folder) as begun:
        begun.add([new])
    assert [needle for needle in needles if needle in _files(folder)] == []
    reader = LocalIndex(folder)
    reader.check()
    assert (len(reader), reader.recall is not None) == (100, lists)
    assert [n for n, _ in reader.keyword_search(parse("corrected"), k=9, filters=_ALL)] == reader.ids_where(volume="v7")


def test_a_reader_goes_on_when_the_database_is_written_anew(index: LocalIndex, make) -> None:
    before = (index.folder / DATABASE).stat().st_ino
    numbers = index.ids_where(volume="v4")
    with open_for_writing(index.folder) as begun:
        begun.delete(numbers)
    assert (index.folder / DATABASE).stat().st_ino != before
    assert index.records(numbers) == {}
    assert (len(index), len(index.ids())) == (39, 39)
    with open_for_writing(index.folder) as begun:
        begun.add([make(70)])
    assert len(index.vector_search(make(70).latent_L, k=99, filters=_ALL)) == 40


def test_a_reader_that_is_behind_leaves_a_writers_journal_alone(index: LocalIndex, make) -> None:
    """A reader of the file that was replaced sees the journal of the new one, which is no remnant of a killed writer."""
    reader = index._database
    with open_for_writing(index.folder) as begun:
        begun.delete(begun.ids_where(volume="v4"))
        begun.finish()
        begun._database._connection.execute("PRAGMA cache_size = 1")  # the journal is on the disk before the end of the change
        with begun._database.change():
            begun._database.add([make(71, words="much " * 20_000)])
            journal = index.folder / f"{DATABASE}-journal"
            before = journal.read_bytes()
            assert before[:1] != b"\0"
            with pytest.raises(sqlite3.OperationalError, match="readonly"):  # the connection itself, behind the look at the file
                reader._connection.execute("SELECT count(*) FROM record").fetchall()
            assert journal.read_bytes() == before
    assert len(index.ids()) == 40


def test_what_a_killed_writer_left_is_rolled_back_by_the_next_reader(index: LocalIndex, make) -> None:
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from thoracle.search.local.database import Database\n"
        "database = Database(Path(sys.argv[1]), write=True)\n"
        "database._connection.execute('PRAGMA cache_size = 1')\n"
        "database._connection.execute('BEGIN')\n"
        "database._connection.execute('DELETE FROM record WHERE id > 3')\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(index.folder / DATABASE)], check=False)
    assert (index.folder / f"{DATABASE}-journal").stat().st_size > 512
    fresh = LocalIndex(index.folder)
    assert (len(fresh.ids()), len(index.ids())) == (40, 40)
    assert not (index.folder / f"{DATABASE}-journal").exists()


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


def test_a_database_put_back_from_a_copy_takes_no_latents_of_the_files_that_went_on(index: LocalIndex, make) -> None:
    copy = (index.folder / DATABASE).read_bytes()
    with open_for_writing(index.folder) as begun:
        begun.add([make(60), make(61)])
    (index.folder / DATABASE).write_bytes(copy)
    reader = LocalIndex(index.folder)
    assert len(reader.vector_search(make(60).latent_L, k=99, filters=_ALL)) == 40
    with open_for_writing(index.folder) as begun:
        begun.add([make(62)])
    assert reader.vector_search(make(62).latent_L, k=1, filters=_ALL)[0][1] == pytest.approx(1)
    assert len(LocalIndex(index.folder).vectors().live_rows) == 41


def test_latents_that_are_not_what_was_written_are_made_again_by_a_check(index: LocalIndex, make) -> None:
    path = index.folder / VECTORS
    content = path.read_bytes()
    path.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    with open_for_writing(index.folder) as begun:
        begun.check()
    rows = LocalIndex(index.folder).vectors()
    assert np.array_equal(rows.array, index.latents(index.ids()))


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
    assert set(told["errors"]) == {"IndexUnwritable", "ErasurePending"}


def test_a_file_that_cannot_grow_leaves_the_old_state_and_says_so(tmp_path: Path) -> None:
    _fill_disks(tmp_path / "index")


def test_a_full_disk_leaves_the_old_state_and_says_so(tmp_path: Path, small_disk: Path) -> None:
    _fill_disks(tmp_path / "index", small_disk)


def _sizes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def _grow(folder: Path, make) -> None:
    """To about a megabyte, of which p0 is told by its words."""
    with open_for_writing(folder) as begun:
        begun.add([make(number, words=" ".join(f"{number}x{word}" for word in range(900))) for number in range(100, 160)])
        begun.add([make(number, words="Quagmire.") for number in (0, 1)])


def test_erasing_needs_no_other_disk_and_as_much_room_as_the_index(
    settings: dict[str, Any], make, small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = settings | {"dim_latent": 256}  # a latent of a kilobyte beside each report, as with a real model twice that
    with open_for_writing(tmp_path / "index", wide) as begun:
        for number in range(250):
            addition = make(number, words="Quagmire." if number < 2 else " ".join(f"{number}x{word}" for word in range(200)))
            object.__setattr__(addition, "latent_L", np.random.default_rng(number).standard_normal(256).astype(np.float32))
            begun.add([addition])
    size = _sizes(tmp_path / "index")
    assert size > 1_000_000
    for disk, temporary, room in ((tmp_path, small_disk, 65536), (small_disk, tmp_path, size)):
        shutil.copytree(tmp_path / "index", disk / "work")
        (small_disk / "filler").write_bytes(bytes(shutil.disk_usage(small_disk).free - room))
        monkeypatch.setenv("SQLITE_TMPDIR", str(temporary))
        with open_for_writing(disk / "work") as begun:
            begun.delete(begun.ids_where(patient="p0"))
        assert b"Quagmire" not in _files(disk / "work")
        (small_disk / "filler").unlink()


def test_pending_erasure_is_said_and_stops_nobody(index: LocalIndex, make, small_disk: Path) -> None:
    _grow(index.folder, make)
    shutil.copytree(index.folder, small_disk / "index")
    folder = small_disk / "index"
    (small_disk / "filler").write_bytes(bytes(shutil.disk_usage(small_disk).free - 400_000))
    says = r"out of every search.*erased from vectors.bin.*may still be in index.sqlite \(.*full\).*Make . MB of room"
    with pytest.raises(ErasurePending, match=says), open_for_writing(folder) as begun:
        begun.delete(begun.ids_where(patient="p0"))
    assert len(list(folder.iterdir())) == 4, "nothing half-written"
    reader = LocalIndex(folder)
    assert reader.ids_where(patient="p0") == []
    assert reader.keyword_search(parse("quagmire"), k=9, filters=_ALL) == []
    with pytest.raises(ErasurePending, match="what was added is kept"), open_for_writing(folder) as begun:
        begun.add([make(170)])
    with pytest.raises(ErasurePending), open_for_writing(folder) as begun:
        begun.check()
    assert len(reader.ids_where(volume="v170")) == 1
    assert reader.vector_search(make(170).latent_L, k=1, filters=_ALL)[0][1] == pytest.approx(1)
    reader.close()
    del reader
    (small_disk / "filler").unlink()
    with open_for_writing(folder) as begun:
        begun.check()
    assert b"Quagmire" not in _files(folder)
    assert len(list(folder.iterdir())) == 4, "database, lock, latents and journal"
