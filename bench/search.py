"""How fast an index answers, and how much it keeps: exact and hybrid over records, approximate beside exact over more vectors.

    python bench/search.py [--records 50000 100000] [--vectors 1000000] [--queries 200] [--reports ctclip_train.csv]

Latents are random, around 2,000 centres, 512 wide. Reports are of real length and words: each is one of the real ones (by default the 800
in `THORACLE_DATA`) with sentences of another. A record is looked for as `thoracle search --similar-to` does, hybrid with two keywords
beside: all but the encoding of a query. Keywords are pairs of words, beginnings of five letters and phrases of two words that at least a
twentieth of the real reports hold, the same with filters and without. Over vectors 300 are asked for, as the engine does for ten hits, and
the first ten are held against the exact ones. Prints milliseconds, of the clock and of CPU, which others' work on the cores moves less, and
how many times an unfiltered query's median of CPU a filtered one takes; nothing is kept.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import tempfile
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np

from thoracle.cohort.demographics import Demographics
from thoracle.cohort.reports import Report
from thoracle.search.engine import Engine, Query
from thoracle.search.local import faiss_lists as approximate
from thoracle.search.local.index import LocalIndex, open_for_writing
from thoracle.search.local.vectors import Vectors, nearest
from thoracle.search.record import Filters, IndexedVolume, Record

DIM = 512


def main() -> None:
    parser = argparse.ArgumentParser(description="Time search.")
    parser.add_argument("--records", type=int, nargs="*", default=[50_000, 100_000])
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=200)
    data = Path(os.environ.get("THORACLE_DATA") or Path(__file__).parents[1] / ".." / "shared" / "data")
    parser.add_argument("--reports", type=Path, default=data / "reports" / "ctclip_train.csv")
    options = parser.parse_args()
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for count in options.records:
        with options.reports.open(newline="", encoding="utf-8") as file:
            texts = [row["report_text"] for row in csv.DictReader(file)]
        with tempfile.TemporaryDirectory() as folder:
            time_records(Path(folder) / "index", count, options.queries, texts)
    if options.vectors:
        with tempfile.TemporaryDirectory() as folder:
            time_vectors(Path(folder), options.vectors, options.queries)
    print(f"load after: {os.getloadavg()[0]:.1f}")


def time_records(folder: Path, count: int, queries: int, texts: list[str]) -> None:
    latents, draw = latents_of(count), np.random.default_rng(1)
    sentences = [text.split(". ") for text in texts]
    started = time.perf_counter()
    with open_for_writing(folder, {"model": "m", "dim_latent": DIM}, lists=False) as index:
        for start in range(0, count, 256):
            index.add([addition(n, latents[n], draw, sentences) for n in range(start, min(start + 256, count))])
    built = time.perf_counter() - started
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{count:,} records: built in {built:.0f} s, {size / count:,.0f} bytes a record (no thumbnails)")
    index = LocalIndex(folder)
    index.vectors()
    engine, numbers, kinds = Engine(index), index.ids(), keyword_queries(texts, queries)
    filters = {"": Filters(), ", women": Filters(sex="F"), ", train, 40 to 60": Filters(split="train", age_from=40, age_to=60)}
    medians: dict[str, float] = {}
    for kind in ("exact", *kinds, "effusion", "hybrid"):
        for about, chosen in filters.items():
            took = []
            for n in range(queries):
                like = (numbers[n * 7 % count],) if kind in ("exact", "hybrid") else ()
                words = {"exact": "", "effusion": "effusion", "hybrid": kinds["words"][n]}
                query = Query(like=like, keyword=words[kind] if kind in words else kinds[kind][n], filters=chosen, exact=True)
                took.append(timed(lambda: engine.search(query)))  # noqa: B023
            medians[kind + about] = float(np.median([cpu for _, cpu in took]))
            show(kind + about, took, times=medians[kind + about] / medians[kind])


def keyword_queries(texts: list[str], count: int) -> dict[str, list[str]]:
    """Queries of words and word pairs that at least a twentieth of the texts hold, in an order of their own."""
    words = [re.findall(r"[a-z]+", text.lower()) for text in texts]
    common = sorted(word for word, n in Counter(w for text in words for w in set(text)).items() if n >= len(texts) / 20 and len(word) > 4)
    phrases = sorted(pair for pair, n in Counter(p for text in words for p in set(pairwise(text))).items() if n >= len(texts) / 20)
    draw = np.random.default_rng(2)
    drawn, pairs = draw.choice(common, (count, 2)), draw.integers(len(phrases), size=count)
    return {
        "words": [f"{first} OR {second}" for first, second in drawn],
        "beginnings": [f"{first[:5]}*" for first, _ in drawn],
        "words and beginnings": [f"{first} {second[:5]}*" for first, second in drawn],
        "phrases": [f'"{" ".join(phrases[n])}"' for n in pairs],
    }


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


def show(name: str, took: list[tuple[float, float]], *, times: float = 1.0) -> None:
    wall, cpu = np.array(took).T
    text = f"median {np.median(wall):.1f} ms, p95 {np.quantile(wall, 0.95):.1f} ms"
    print(f"  {name}: {text}; of CPU {np.median(cpu):.1f} ms, p95 {np.quantile(cpu, 0.95):.1f} ms; {times:.2f} times", flush=True)


def timed(act: object) -> tuple[float, float]:
    """Milliseconds on the clock, and of all cores' time."""
    started, spent = time.perf_counter(), time.process_time()
    act()  # type: ignore[operator]
    return 1000 * (time.perf_counter() - started), 1000 * (time.process_time() - spent)


def addition(number: int, latent: np.ndarray, draw: np.random.Generator, sentences: list[list[str]]) -> IndexedVolume:
    first, second = (sentences[n] for n in draw.integers(len(sentences), size=2))
    text = ". ".join([*first, *draw.permutation(second)[:4]])
    record = Record(
        volume=f"v{number}",
        scan=f"s{number}",
        accession=f"a{number}",
        patient=f"p{number // 2}",
        split="train" if number % 10 else "valid",
        report=Report(findings=text),
        labels=tuple(draw.integers(2, size=18).tolist()),
        facts=Demographics(age=int(draw.integers(18, 95)), sex="FM"[number % 2], date=f"20{10 + number % 12}", scanner="GE Revolution"),
    )
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
