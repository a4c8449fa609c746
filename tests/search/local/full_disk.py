"""Run by test_index.py: adds to, changes and deletes from an index while no file may grow beyond a limit, which is raised step by step.

    python full_disk.py FOLDER [DISK]

RLIMIT_FSIZE stands for a full disk where nobody has the rights to mount one: writes fail wherever the limit happens to be reached. With
DISK, a small file system that is mounted there, the index lies on it, and a file of the right size leaves so much room.
"""

from __future__ import annotations

import json
import resource
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from thoracle.cohort.reports import Report
from thoracle.errors import ErasurePending, ThoracleError
from thoracle.search.local.database import DATABASE
from thoracle.search.local.index import LocalIndex, open_for_writing
from thoracle.search.local.vectors import VECTORS
from thoracle.search.record import IndexedVolume, Record

_SETTINGS = {"model": "m", "dim_latent": 64}
NAMES = {DATABASE, VECTORS}
_UNLIMITED = resource.getrlimit(resource.RLIMIT_FSIZE)


def _additions(numbers: range, version: str = "first") -> list[IndexedVolume]:
    draw = np.random.default_rng(numbers.start)
    made = []
    for n in numbers:
        words = " ".join(f"w{word}" for word in draw.integers(0, 10**6, 120))
        report = Report(findings=f"{version}{n}qz {words}")
        record = Record(volume=f"v{n}", scan=f"s{n}", accession="", patient=f"p{n % 5}", report=report)
        made.append(IndexedVolume(record=record, latent_L=draw.standard_normal(64).astype(np.float32), thumbnail=draw.bytes(3000)))
    return made


def _volumes(folder: Path) -> set[str]:
    index = LocalIndex(folder)
    index.check()
    assert len(index.vectors().live_rows) == len(index)
    found = {record.volume for record in index.records(index.ids()).values()}
    index.close()
    return found


def _traces(folder: Path, numbers: range, names: set[str]) -> list[str]:
    """Words of first versions that files of these names hold."""
    content = b"".join(path.read_bytes() for path in folder.iterdir() if path.name in names)
    return [f"first{n}qz" for n in numbers if f"first{n}qz".encode() in content]


@contextmanager
def _room(limit: int, disk: Path | None) -> Iterator[None]:
    if disk is None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, _UNLIMITED[1]))
    else:
        (disk / "filler").write_bytes(bytes(max(0, shutil.disk_usage(disk).free - limit)))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, _UNLIMITED)
        if disk is not None:
            (disk / "filler").unlink()


def main(folder: Path, disk: Path | None) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    errors: Counter[str] = Counter()
    wrong: list[str] = []
    passed = 0
    with open_for_writing(folder / "full", _SETTINGS) as index:
        index.add(_additions(range(40)))
    size = (folder / "full" / DATABASE).stat().st_size
    for kind in ("add", "change", "delete"):
        for limit in range(4096, 2 * size, size // 24):
            work = (disk or folder) / "work"
            shutil.rmtree(work, ignore_errors=True)
            shutil.copytree(folder / "full", work)
            before = _volumes(work)
            gone = {"add": range(0), "change": range(7), "delete": range(0, 40, 5)}[kind]
            wanted = {v for v in before if int(v[1:]) % 5} if kind == "delete" else before
            wanted = wanted | {f"v{n}" for n in range(40, 60)} if kind == "add" else wanted
            done, erased = False, set[str]()
            try:
                with _room(limit, disk), open_for_writing(work) as index:
                    if kind == "add":
                        index.add(_additions(range(40, 60)))
                    elif kind == "change":
                        index.add(_additions(gone, "second"))
                    else:
                        index.delete(index.ids_where(patient="p0"))
                    done = True
                passed += 1
            except ThoracleError as error:
                errors[type(error).__name__] += 1
                if "disk" not in str(error) and "room" not in str(error):
                    wrong.append(f"{kind} {limit}: {error}")
                if isinstance(error, ErasurePending):
                    done, erased = True, {name for name in NAMES if name in error.detail.partition("may still")[0]}
                    if kind == "add" or erased == NAMES:
                        wrong.append(f"{kind} {limit}: {error}")
            if traces := _traces(work, gone, erased):
                wrong.append(f"{kind} {limit}: {traces} in what is said to be erased")
            left = _volumes(work)
            if left != wanted and (done or left != before):
                wrong.append(f"{kind} {limit}: {len(left)} records, {len(before)} before")
            with open_for_writing(work):
                pass
            if done and (traces := _traces(work, gone, {path.name for path in work.iterdir()})):
                wrong.append(f"{kind} {limit}: {traces} are left")
            if [path.name for path in work.iterdir() if path.name.endswith((".tmp", "-journal"))]:
                wrong.append(f"{kind} {limit}: half-written files are left")
    print(json.dumps({"passed": passed, "refused": sum(errors.values()), "errors": errors, "wrong": wrong}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if sys.argv[2:] else None)
