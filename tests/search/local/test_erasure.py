"""Erasing: nothing of who was deleted is left in any file, and what could not be erased is said."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from thoracle.errors import ErasurePending
from thoracle.search.keywords import parse
from thoracle.search.local.index import LocalIndex, open_for_writing
from thoracle.search.record import Filters

_ALL = Filters()

Content = Callable[[Path], bytes]


@pytest.mark.parametrize("lists", [False, True])
def test_nothing_of_a_deleted_patient_is_left_in_any_file(
    tmp_path: Path, settings: dict[str, Any], make, lists: bool, content: Content
) -> None:
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
    before = content(tmp_path / "index")
    assert [needle for needle in needles[: 10 + 2 * lists] if needle not in before] == []
    with open_for_writing(tmp_path / "index") as begun:
        begun.delete(begun.ids_where(patient="ZZSECRETZZ"))
    after = content(tmp_path / "index")
    halves = [part for needle in needles for part in (needle[: len(needle) // 2 + 2], needle[-(len(needle) // 2 + 2) :])]
    assert [part for part in [*needles, *halves] if part in after] == []
    left = LocalIndex(tmp_path / "index")
    left.check()
    assert (len(left), left.recall is not None) == (300, lists)


def _grow(folder: Path, make) -> None:
    """To about a megabyte, of which p0 is told by its words."""
    with open_for_writing(folder) as begun:
        begun.add([make(number, words=" ".join(f"{number}x{word}" for word in range(900))) for number in range(100, 160)])
        begun.add([make(number, words="Quagmire.") for number in (0, 1)])


def test_pending_erasure_is_said_and_stops_nobody(index: LocalIndex, make, small_disk: Path, content: Content) -> None:
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
    assert b"Quagmire" not in content(folder)
    assert len(list(folder.iterdir())) == 4, "database, lock, latents and journal"
