"""What an index of many records costs before a query: opening it, one keyword query as a process, one study more, one less.

    python bench/search_open.py [--records 1000000] [--words 40] [--repeat 7] [--no-delete]

Latents are random, 512 wide; reports are of random words out of 3,000, and one in a thousand holds a word of its own, which is looked for.
Processes are timed with the files in memory, an interpreter that imports nothing beside them. Prints medians of seconds, of the clock and
of CPU, which others' work on the cores moves less; nothing is kept.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from thoracle.cohort.reports import Report
from thoracle.search.keywords import parse
from thoracle.search.local.index import LocalIndex, open_for_writing
from thoracle.search.record import Filters, IndexedVolume, Record

DIM = 512
AT_ONCE = 4096


def main() -> None:
    parser = argparse.ArgumentParser(description="Time opening, one query, one addition and one deletion.")
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--words", type=int, default=40)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--no-delete", action="store_true", help="Deleting writes the database anew.")
    options = parser.parse_args()
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as parent:
        folder = Path(parent) / "index"
        fill(folder, options.records, options.words)
        time_processes(folder, options.repeat)
        time_parts(folder, options.repeat)
        time_changes(folder, options.records, delete=not options.no_delete)
    print(f"load after: {os.getloadavg()[0]:.1f}")


def fill(folder: Path, count: int, words: int) -> None:
    draw, started = np.random.default_rng(0), time.perf_counter()
    with open_for_writing(folder, {"model": "m", "dim_latent": DIM}, lists=False) as index:
        for start in range(0, count, AT_ONCE):
            size = min(AT_ONCE, count - start)
            latents = draw.standard_normal((size, DIM), dtype=np.float32)
            latents /= np.linalg.norm(latents, axis=1, keepdims=True)
            choice = (3000 * draw.random((size, words)) ** 2).astype(int)
            index.add([addition(start + n, latents[n], choice[n]) for n in range(size)])
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{count:,} records of {words} words: built in {time.perf_counter() - started:.0f} s, {size / count:,.0f} bytes each", flush=True)


def addition(number: int, latent: np.ndarray, words: np.ndarray) -> IndexedVolume:
    own = f" rare{number // 1000}" if number % 1000 == 0 else ""
    report = Report(findings=" ".join(f"w{word}" for word in words) + own)
    record = Record(volume=f"v{number}", scan=f"s{number}", accession=f"a{number}", patient=f"p{number // 2}", report=report)
    return IndexedVolume(record=record, latent_L=latent)


def time_processes(folder: Path, repeat: int) -> None:
    """Time the command beside an interpreter that does nothing, in turn."""
    commands = {
        "an interpreter": [sys.executable, "-c", "pass"],
        "thoracle search --keyword": [sys.executable, "-m", "thoracle", "search", str(folder), "--keyword", "rare0"],
        "its imports alone": [sys.executable, "-c", "import numpy, rich.table, typer, thoracle.cli.search, thoracle.search.engine"],
    }
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(repeat):
        for name, command in commands.items():
            seconds[name].append(timed(lambda: subprocess.run(command, check=True, capture_output=True)))  # noqa: B023
    for name, times in seconds.items():
        show(name, times)
    command = [sys.executable, "-X", "importtime", *commands["thoracle search --keyword"][1:]]
    modules = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    print(f"  torch is {'imported' if re.search(r'[|] +torch$', modules, re.MULTILINE) else 'not imported'} by it")


def time_parts(folder: Path, repeat: int) -> None:
    """Time what a process does with an index once its modules are there."""
    parts: dict[str, Callable[[LocalIndex], object]] = {
        "open, and how many there are": len,
        "open, and one keyword query": look_up,
        "open, and map all vectors": lambda index: index.vectors(),
    }
    for name, act in parts.items():
        show(name, [timed(lambda: use(folder, act)) for _ in range(repeat)])  # noqa: B023


def look_up(index: LocalIndex) -> object:
    return index.records([number for number, _ in index.keyword_search(parse("rare0"), k=10, filters=Filters())])


def use(folder: Path, act: Callable[[LocalIndex], object]) -> None:
    index = LocalIndex(folder)
    act(index)
    index.close()


def time_changes(folder: Path, count: int, *, delete: bool) -> None:
    """Time one study more and one less, each as a session of its own, and how many bytes they write."""
    latent = np.zeros(DIM, np.float32)
    latent[0] = 1
    session(folder, "adding one study", lambda index: index.add([addition(count, latent, np.arange(40))]))
    if delete:
        session(folder, "deleting one", lambda index: index.delete(index.ids_where(volume="v7")))


def session(folder: Path, name: str, act: Callable[[LocalIndex], object]) -> None:
    def whole() -> None:
        with open_for_writing(folder, lists=False) as index:
            act(index)

    before = written()
    show(name, [timed(whole)])
    print(f"    {(written() - before) / 1e6:,.1f} MB written")


def written() -> int:
    """Bytes that this process has written so far, in units of 512 as the system counts them."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_oublock * 512


def timed(act: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the clock, and of CPU, of this process and its children."""
    started, spent = time.perf_counter(), cpu()
    act()
    return time.perf_counter() - started, cpu() - spent


def cpu() -> float:
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def show(name: str, times: list[tuple[float, float]]) -> None:
    wall, spent = np.median(np.array(times), axis=0)
    print(f"  {name}: {wall:.3f} s; of CPU {spent:.3f} s", flush=True)


if __name__ == "__main__":
    main()
