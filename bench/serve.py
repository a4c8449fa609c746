"""Measure a server: seconds from the last byte of an upload to the first slice and to findings, and searches of several clients.

`python bench/serve.py --model MODEL`; the upload is of random voxels over a chest's sketch, int16. A search's CPU is that of the server's
own process, of the process that holds the models, and of the clients, who share the machine with both.
"""

from __future__ import annotations

import argparse
import gzip
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import nibabel as nib
import numpy as np
import psutil
from scipy import ndimage

from thoracle.cohort.reports import Report
from thoracle.inference.demo.assets import write_model, write_scan
from thoracle.inference.model import load
from thoracle.search.indexing import latent_settings
from thoracle.search.open_index import open_index_for_writing
from thoracle.search.record import IndexedVolume, Record
from thoracle.types import ABNORMALITIES

WORDS = ("small", "large", "left", "right", "mild", "severe", "new", "old")
KINDS = ("text (exact)", "text", "keyword", "hybrid", "filtered")


def query(kind: str, number: int) -> dict[str, Any]:
    """Return the search of that number of a kind: the words of no two are the same; 18 findings take turns."""
    finding = ABNORMALITIES[number % len(ABNORMALITIES)]
    text, keyword = f"{finding.lower()} {number}", finding.split()[-1].lower()
    queries: dict[str, dict[str, Any]] = {
        "text (exact)": {"text": text, "exact": True},
        "text": {"text": text},
        "keyword": {"keyword": f"{keyword} NOT {WORDS[number % len(WORDS)]}"},
        "hybrid": {"text": text, "keyword": keyword},
        "filtered": {"text": text, "filters": {"labels": [finding]}},
    }
    return queries[kind]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--shape", type=int, nargs=3, default=(512, 512, 300))
    parser.add_argument("--index", type=Path, help="That was written by an earlier run into this folder, or is written there now.")
    parser.add_argument("--records", type=int, default=50_000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--searches", type=int, default=25, help="Of each client and kind.")
    parser.add_argument("--scans", type=int, default=20, help="Open at once, for memory; 0 for searches alone.")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        model = options.model or write_model(root / "model").path
        index, content = options.index or root / "index", volume(root, tuple(options.shape)) if options.scans else b""
        if not index.exists():
            write_index(index, model, options.records)
        command = [sys.executable, "-m", "thoracle", "serve", "--model", model, "--index", index, "--index-model", model, "--port", 0]
        command += ["--work", root / "work", "--device", options.device]
        with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
            try:
                measure(server, content, options)
            finally:
                server.terminate()


def measure(server: subprocess.Popen[str], content: bytes, options: argparse.Namespace) -> None:
    """Print one row a figure."""
    assert server.stdout is not None
    line = next(line for line in server.stdout if "token=" in line)
    address = re.match(r"(http://\S+?)/\?token=(\S+)", line)
    assert address is not None, line
    headers = {"Authorization": f"Bearer {address[2]}"}
    client = httpx.Client(base_url=f"{address[1]}/api/v1", headers=headers, timeout=600)
    while httpx.get(f"{address[1]}/readyz").status_code != 200:
        time.sleep(0.1)
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    print(f"memory at rest: {memory(server.pid):,.0f} MB")
    for run in range(3 if options.scans else 0):
        opened = client.post("/scans", content=content, headers={"Content-Type": "application/octet-stream"}).json()
        start = time.perf_counter()
        client.get(f"/jobs/{opened['job']}/events")
        middle = client.get(f"/scans/{opened['scan']}").json()["shape"][2] // 2
        client.get(f"/scans/{opened['scan']}/slices/axial/{middle}.png")
        first = time.perf_counter() - start
        job = client.post(f"/scans/{opened['scan']}/findings").json()["job"]
        client.get(f"/jobs/{job}/events")
        print(f"run {run}: first slice {first:.2f} s, findings {time.perf_counter() - start:.2f} s after the last byte")
    for _ in range(options.scans - 3):
        job = client.post("/scans", content=content, headers={"Content-Type": "application/octet-stream"}).json()["job"]
        client.get(f"/jobs/{job}/events")
    print(f"memory with {max(options.scans, 3)} scans open: {memory(server.pid):,.0f} MB")
    for name in KINDS:
        before = cpu(server.pid)
        with ThreadPoolExecutor(options.clients) as pool:
            starts = range(0, options.clients * options.searches, options.searches)
            answers = pool.map(partial(searches, address, headers, name, options.searches), starts)
            seconds = sorted(second for client_seconds in answers for second in client_seconds)
        p95 = seconds[int(0.95 * (len(seconds) - 1))]
        used = {who: 1000 * (after - before[who]) / len(seconds) for who, after in cpu(server.pid).items()}
        middle = seconds[len(seconds) // 2]
        words = ", ".join(f"{who} {milliseconds:.1f}" for who, milliseconds in used.items())
        print(f"{name}: median {1000 * middle:.0f} ms, p95 {1000 * p95:.0f} ms of {len(seconds)} searches; CPU ms: {words}")


def searches(address: re.Match[str], headers: dict[str, str], kind: str, count: int, first: int) -> list[float]:
    """Make so many searches of a kind, from that number on; return the seconds of each."""
    seconds = []
    with httpx.Client(base_url=f"{address[1]}/api/v1", headers=headers, timeout=600) as client:
        for number in range(first, first + count):
            start = time.perf_counter()
            client.post("/search", json=query(kind, number)).raise_for_status()
            seconds.append(time.perf_counter() - start)
    return seconds


def cpu(pid: int) -> dict[str, float]:
    """Return the CPU seconds so far of a server, of the processes that it started, and of this one."""
    server = psutil.Process(pid)
    seconds = {who: sum(process.cpu_times()[:2]) for who, process in (("server", server), ("clients", psutil.Process()))}
    return seconds | {"workers": sum(sum(process.cpu_times()[:2]) for process in server.children(recursive=True))}


def memory(pid: int) -> float:
    """Return the megabytes of a process and those that it started."""
    server = psutil.Process(pid)
    return float(sum(process.memory_info().rss for process in (server, *server.children(recursive=True))) / 1e6)


def volume(folder: Path, shape: tuple[int, ...]) -> bytes:
    """Return the sketch of a chest at a size, with noise."""
    sketch: Any = nib.load(write_scan(folder / "sketch.nii.gz"))
    small = np.asarray(sketch.dataobj)
    zoom = [new / old for new, old in zip(shape, small.shape, strict=True)]
    values = ndimage.zoom(small, zoom, order=0) + np.random.default_rng(0).normal(0, 12, shape)
    make: Any = nib.Nifti1Image
    image = make(values.round().astype(np.int16), sketch.affine @ np.diag([*(1 / z for z in zoom), 1]))
    return gzip.compress(image.to_bytes(), 1)


def write_index(folder: Path, model_folder: Path, records: int) -> Path:
    """Write records with random latents and reports of a few words."""
    model, random = load(model_folder, device="cpu"), np.random.default_rng(0)
    settings = latent_settings(model, key=None)
    with open_index_for_writing(str(folder), settings) as index:
        for start in range(0, records, 5000):
            latents = random.standard_normal((min(5000, records - start), model.dim_latent)).astype(np.float32)
            latents /= np.linalg.norm(latents, axis=1, keepdims=True)
            index.add([IndexedVolume(record=record(start + k, random), latent_L=latent) for k, latent in enumerate(latents)])
    return folder


def record(number: int, random: np.random.Generator) -> Record:
    """Return a record with a report of three findings."""
    present = random.choice(len(ABNORMALITIES), 3, replace=False)
    text = " ".join(f"{random.choice(WORDS)} {ABNORMALITIES[k].lower()} is seen." for k in present)
    labels = tuple(int(k in present) for k in range(len(ABNORMALITIES)))
    name = f"case_{number}"
    return Record(volume=name, scan=name, accession=name, patient=name, report=Report(findings=text), labels=labels)


if __name__ == "__main__":
    main()
