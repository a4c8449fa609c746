from __future__ import annotations

import errno
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from thoracle.cohort.pseudonyms import SiteKey, default_key_file
from thoracle.cohort.sources import VolumeSource
from thoracle.errors import InputError

_SOURCE = VolumeSource(volume="1.2.3", scan="1.2", patient="MRN 7", path=Path("x"))


def test_a_pseudonym_is_the_same_for_the_same_key_and_tells_nothing_without_it(tmp_path: Path) -> None:
    key = SiteKey.open(tmp_path / "a.key", outside=tmp_path / "out")
    again = SiteKey.open(tmp_path / "a.key", outside=tmp_path / "out")
    other = SiteKey.open(tmp_path / "b.key", outside=tmp_path / "out")
    one = key.pseudonymize(_SOURCE)
    assert one == again.pseudonymize(_SOURCE)
    assert (one.patient, one.scan, one.volume) != tuple(
        getattr(other.pseudonymize(_SOURCE), name) for name in ("patient", "scan", "volume")
    )
    assert (key.fingerprint == again.fingerprint, key.fingerprint == other.fingerprint) == (True, False)
    assert key.pseudonymize(replace(_SOURCE, volume="1.2.4")).scan == one.scan
    assert one.scan.endswith(key.endings("1.2")[0])
    assert one.volume.endswith(key.endings("1.2.3")[1])
    assert key.pseudonymize(replace(_SOURCE, accession="A7")).accession == key.accession("A7")
    assert one.accession == one.scan
    assert one.patient == key.patient("MRN 7")
    assert key.secret.hex() not in repr(key)


def test_the_key_is_never_in_the_cohort_and_nothing_else_is_a_key(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="in the cohort's folder"):
        SiteKey.open(tmp_path / "out" / "keys" / "a.key", outside=tmp_path / "out")
    (tmp_path / "a.key").write_text("secret")
    with pytest.raises(InputError, match="not a site key"):
        SiteKey.open(tmp_path / "a.key", outside=tmp_path / "out")


def test_where_the_key_is_by_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert default_key_file() == tmp_path / "thoracle" / "site.key"
    monkeypatch.setenv("THORACLE_SITE_KEY", str(tmp_path / "k"))
    assert default_key_file() == tmp_path / "k"


#: Waits until all are there, then opens the key: the processes are at it at once.
_FIRST = """
import sys, time
from pathlib import Path
from thoracle.cohort.pseudonyms import SiteKey
folder, number, of = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
(folder / f"ready-{number}").touch()
while len(list(folder.glob("ready-*"))) < of:
    pass
for round in range(25):
    print(SiteKey.open(folder / f"{round}.key", outside=folder / "out").secret.hex())
"""


def test_several_first_processes_agree_on_one_key(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", _FIRST, tmp_path, str(n), "4"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for n in range(4)
    ]
    ends = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, ends
    assert len({out for out, _ in ends}) == 1
    assert len(set(ends[0][0].split())) == 25
    assert not list(tmp_path.glob(".*")), "nothing is left beside"
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("*.key")} == {0o600}


def test_a_kill_as_the_key_is_written_leaves_no_half_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "link", killed)
    with pytest.raises(KeyboardInterrupt):
        SiteKey.open(tmp_path / "a.key", outside=tmp_path / "out")
    monkeypatch.undo()
    assert not (tmp_path / "a.key").exists()
    assert SiteKey.open(tmp_path / "a.key", outside=tmp_path / "out").secret


def test_where_files_cannot_be_linked_a_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "link", unsupported)
    with pytest.raises(InputError, match=r"no hard links\)\. Make it on another disk \(--site-key\), and move it there"):
        SiteKey.open(tmp_path / "a.key", outside=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_key_is_loaded_and_none_is_made(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        SiteKey.load(tmp_path / "a.key", outside=tmp_path / "out")
    key = SiteKey.open(tmp_path / "a.key", outside=tmp_path / "out")
    assert SiteKey.load(tmp_path / "a.key", outside=tmp_path / "out") == key
