"""How fast an index answers, and how much it keeps: exact and hybrid over records, approximate beside exact over more vectors.

    python bench/search.py [--records 50000] [--vectors 1000000] [--queries 200]

Latents are random, around 2,000 centres, 512 wide; reports are of 120 random words out of 300. A record is looked for as `thoracle search
--similar-to` does, hybrid with two keywords beside: all but the encoding of a query. Over vectors 300 are asked for, as the engine does
for ten hits, and the first ten are held against the exact ones. Prints milliseconds, of the clock and of CPU, which others' work on the
cores moves less; nothing is kept.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from thoracle.cohort.reports import Report
from thoracle.search.engine import Engine, Query
from thoracle.search.local import faiss_lists as approximate
from thoracle.search.local.index import LocalIndex, open_for_writing
from thoracle.search.local.vectors import Vectors, nearest
from thoracle.search.record import IndexedVolume, Record

DIM = 512


def main() -> None:
    parser = argparse.ArgumentParser(description="Time search.")
    parser.add_argument("--records", type=int, default=50_000)
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=200)
    options = parser.parse_args()
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    if options.records:
        with tempfile.TemporaryDirectory() as folder:
            time_records(Path(folder) / "index", options.records, options.queries)
    if options.vectors:
        with tempfile.TemporaryDirectory() as folder:
            time_vectors(Path(folder), options.vectors, options.queries)
    print(f"load after: {os.getloadavg()[0]:.1f}")


def time_records(folder: Path, count: int, queries: int) -> None:
    latents, draw = latents_of(count), np.random.default_rng(1)
    started = time.perf_counter()
    with open_for_writing(folder, {"model": "m", "dim_latent": DIM}, lists=False) as index:
        for start in range(0, count, 256):
            index.add([addition(n, latents[n], draw) for n in range(start, min(start + 256, count))])
    built = time.perf_counter() - started
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{count:,} records: built in {built:.0f} s, {size / count:,.0f} bytes a record (no thumbnails)")
    index = LocalIndex(folder)
    index.vectors()
    engine, numbers = Engine(index), index.ids()
    for name in ("exact", "keyword", "hybrid"):
        took = []
        for n in range(queries):
            like = () if name == "keyword" else (numbers[n * 7 % count],)
            keyword = "" if name == "exact" else f"w{n % 300} OR w{(n + 7) % 300}"
            query = Query(like=like, keyword=keyword, exact=True)
            took.append(timed(lambda: engine.search(query)))  # noqa: B023
        show(name, took)


def time_vectors(folder: Path, count: int, queries: int) -> None:
    vectors = Vectors(state="s", ids=np.arange(count), array=latents_of(count))
    started = time.perf_counter()
    lists = approximate.build(vectors)
    print(f"{count:,} vectors: lists built in {time.perf_counter() - started:.0f} s, {lists.info.probes} of {lists.info.lists} probed")
    approximate.write(folder, lists)
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"  lists: {size / count:,.0f} bytes a record beside {4 * DIM + 8:,} of vectors")
    query_latents = latents_of(queries, seed=5)
    exact, faster, hits = [], [], 0
    for query in query_latents:
        neighbours: list[np.ndarray] = []
        exact.append(timed(lambda: neighbours.append(nearest(vectors.array, query[None], k=10)[0][0])))  # noqa: B023
        faster.append(timed(lambda: neighbours.append(lists.nearest(query, k=300)[0][:10])))  # noqa: B023
        hits += len(set(neighbours[0].tolist()) & set(neighbours[1].tolist()))
    show("exact", exact)
    show("approximate", faster)
    print(f"  recall@10 {hits / (10 * queries):.4f}")


def show(name: str, took: list[tuple[float, float]]) -> None:
    wall, cpu = np.array(took).T
    text = f"median {np.median(wall):.1f} ms, p95 {np.quantile(wall, 0.95):.1f} ms"
    print(f"  {name}: {text}; of CPU {np.median(cpu):.1f} ms, p95 {np.quantile(cpu, 0.95):.1f} ms", flush=True)


def timed(act: object) -> tuple[float, float]:
    """Milliseconds on the clock, and of all cores' time."""
    started, spent = time.perf_counter(), time.process_time()
    act()  # type: ignore[operator]
    return 1000 * (time.perf_counter() - started), 1000 * (time.process_time() - spent)


def addition(number: int, latent: np.ndarray, draw: np.random.Generator) -> IndexedVolume:
    report = Report(findings=" ".join(f"w{word}" for word in (300 * draw.random(120) ** 2).astype(int)))
    record = Record(volume=f"v{number}", scan=f"s{number}", accession=f"a{number}", patient=f"p{number // 2}", report=report)
    return IndexedVolume(record=record, latent_L=latent)


def latents_of(count: int, *, seed: int = 0) -> np.ndarray:
    """(count, DIM), of unit norm, about 2,000 centres."""
    centres = np.random.default_rng(99).standard_normal((2000, DIM), dtype=np.float32)
    draw, latents = np.random.default_rng(seed), np.empty((count, DIM), np.float32)
    for start in range(0, count, 1 << 15):
        part = latents[start : start + (1 << 15)]
        part[:] = centres[draw.integers(2000, size=len(part))] + draw.standard_normal(part.shape, dtype=np.float32)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return latents


if __name__ == "__main__":
    main()
