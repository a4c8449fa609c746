"""A database written anew: no byte of the old is left, and no room is needed but the file's own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thoracle.search.keywords import parse
from thoracle.search.local.index import LocalIndex, open_for_writing
from thoracle.search.record import Filters

_ALL = Filters()

Content = Callable[[Path], bytes]


@pytest.mark.parametrize("lists", [False, True])
def test_an_updated_report_leaves_no_word_latent_or_picture_of_the_old_one(
    tmp_path: Path, settings: dict[str, Any], make, lists: bool, content: Content
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
    assert [needle for needle in needles if needle not in content(folder)] == []
    with open_for_writing(folder) as begun:
        begun.add([new])
    assert [needle for needle in needles if needle in content(folder)] == []
    reader = LocalIndex(folder)
    reader.check()
    assert (len(reader), reader.recall is not None) == (100, lists)
    assert [n for n, _ in reader.keyword_search(parse("corrected"), k=9, filters=_ALL)] == reader.ids_where(volume="v7")


def _sizes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def test_erasing_needs_no_other_disk_and_as_much_room_as_the_index(
    settings: dict[str, Any], make, small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: Content
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
        assert b"Quagmire" not in content(disk / "work")
        (small_disk / "filler").unlink()
