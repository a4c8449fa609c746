"""Run by test_index.py: forks writers, kills each at a random moment, and checks what is left against what they acknowledged.

    python killed.py FOLDER KILLS

A process of its own without threads, so that forking is cheap and safe.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import sys
import time
from pathlib import Path

import numpy as np

from thoracle.cohort.reports import Report
from thoracle.errors import ThoracleError
from thoracle.search.keywords import parse
from thoracle.search.local.index import LocalIndex, open_for_writing
from thoracle.search.record import Filters, IndexedVolume, Record

_SETTINGS = {"model": "m", "dim_latent": 64}


def _addition(number: int, version: int) -> IndexedVolume:
    report = Report(findings=f"Word{number} version{version}. " + "Effusion of the pleura. " * (number % 30))
    latent = np.full(64, version, np.float32)
    latent[0] = number
    record = Record(volume=f"v{number}", scan=f"s{number}", accession="", patient=f"p{number % 12}", report=report)
    return IndexedVolume(record=record, latent_L=latent, thumbnail=bytes(500))


def _write(folder: Path, seed: int, pipe: int) -> None:
    """Until killed: a line before each change, and one after it."""
    draw = random.Random(seed)
    while True:
        with open_for_writing(folder, _SETTINGS) as index:
            for _ in range(draw.randint(1, 6)):
                if draw.random() < 0.15:
                    what: dict[str, object] = {"erase": draw.randrange(12)}
                    act = lambda: index.delete(index.ids_where(patient=f"p{what['erase']}"))  # noqa: B023, E731
                else:
                    version, numbers = draw.randrange(1, 10**6), draw.sample(range(200), draw.randint(1, 8))
                    what = {"add": numbers, "version": version}
                    act = lambda: index.add([_addition(n, version) for n in numbers])  # noqa: B023, E731
                os.write(pipe, json.dumps({"begun": what}).encode() + b"\n")
                act()
                os.write(pipe, json.dumps({"done": what}).encode() + b"\n")


def _run_until_killed(folder: Path, seed: int, said: int, seconds: float) -> list[dict[str, dict]]:
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(readable)
        try:
            _write(folder, seed, writable)
        finally:
            os._exit(3)
    os.close(writable)
    with os.fdopen(readable, "rb") as file:
        lines = [file.readline() for _ in range(said)]  # however slow the machine is
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
        lines += [line for line in file.readlines() if line.endswith(b"\n")]
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL, "it ended by itself"
    return [json.loads(line) for line in lines]


def _after(state: dict[int, int], what: dict) -> dict[int, int]:
    if "erase" in what:
        return {n: v for n, v in state.items() if n % 12 != what["erase"]}
    return state | dict.fromkeys(what["add"], what["version"])


def _left(folder: Path) -> dict[int, int]:
    """Number and version of each record, by rows, latents and full text, which must agree."""
    index = LocalIndex(folder)
    index.check()
    records = index.records(index.ids())
    vectors = index.vectors()
    rows = {n: (int(r.volume[1:]), int(r.report.findings.split("version")[1].split(".")[0])) for n, r in records.items()}
    latents = {int(n): (int(v[0]), int(v[1])) for n, v in zip(vectors.ids[vectors.live_rows], vectors.take(vectors.live_rows), strict=True)}
    assert rows == latents, "rows and latents differ"
    for number, version in random.sample(sorted(rows.values()), min(5, len(rows))):
        found = index.keyword_search(parse(f"word{number} version{version}"), k=9, filters=Filters())
        assert [rows[n] for n, _ in found] == [(number, version)], "rows and full text differ"
    assert len(index.keyword_search(parse("word*"), k=999, filters=Filters())) == len(rows)
    index.close()
    return dict(rows.values())


def main(folder: Path, kills: int) -> None:
    with open_for_writing(folder, _SETTINGS):
        pass
    state: dict[int, int] = {}
    wrong: list[str] = []
    acknowledged = erased = 0
    for kill in range(kills):
        draw = random.Random(kill)
        lines = _run_until_killed(folder, kill, draw.randrange(9), draw.uniform(0.0, 0.03))
        pending: dict | None = None
        for line in lines:
            if "done" in line:
                state, pending = _after(state, line["done"]), None
                acknowledged += len(line["done"].get("add", ()))
                erased += "erase" in line["done"]
            else:
                pending = line["begun"]
        try:
            left = _left(folder)
        except (ThoracleError, AssertionError) as error:
            wrong.append(f"kill {kill}: {error!r}")
            break
        if left != state and (pending is None or left != _after(state, pending)):
            wrong.append(f"kill {kill}: expected {len(state)} records, or what {pending} makes of them; found {len(left)}")
            break
        state = left
    with open_for_writing(folder):
        pass
    content = b"".join(path.read_bytes() for path in folder.iterdir())
    written = {int(digits) for digits in re.findall(rb"version(\d+)\.", content)}
    if written != set(state.values()):
        wrong.append(f"versions {sorted(written - set(state.values()))} are left in the files after the next session")
    print(json.dumps({"kills": kill + 1, "acknowledged": acknowledged, "erased": erased, "wrong": wrong}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
