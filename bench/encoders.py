"""Seconds and memory a scan of each encoder, beside the hardware's floor; and whether `embed` keeps the processor fed.

    python bench/encoders.py [KIND|MODEL ...] [--runs 3] [--tiny]
    python bench/encoders.py MODEL --scans FILE ...

Kinds are of published sizes with random weights (bench/detect.py has CT-CLIP); a model folder has its own. Each runs in a process of its
own, so that its peak memory is its own; the best run counts. The floor is what the encoder's products, counted by torch on shapes alone,
take at the rate at which this process multiplies matrices of 1024 x 1024, both in seconds of its processors, so that other work on the
machine counts little. With --scans they are embedded in three ways: next scan read in a thread, in two processes, and in batches of two;
"fed" is the share of the time in which the processor encoded. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch.utils.flop_counter import FlopCounterMode

from thoracle.ct.recipes.published import ASTRA_CHEST, COLIPRI, MERLIN
from thoracle.inference.batch.discover_scans import find_scans
from thoracle.inference.batch.result_table import ResultTable
from thoracle.inference.batch.runner import ReadOptions, process_scans
from thoracle.inference.latents import ROW_COLUMNS, latent_row
from thoracle.inference.model import load
from thoracle.inference.modules import exact_inference
from thoracle.models.bundle.model_folder import load_state_dict, open_model
from thoracle.models.colipri.config import ColipriConfig
from thoracle.models.ctclip.config import PRESETS
from thoracle.models.encoder import VolumeEncoder
from thoracle.models.merlin.config import MerlinConfig
from thoracle.models.registry import REGISTRY

SIZES = {"colipri": COLIPRI.size, "merlin": MERLIN.size, "astra": ASTRA_CHEST.size}
CONFIGS: dict[str, Any] = {
    "colipri": ColipriConfig(),
    "merlin": MerlinConfig(num_labels=1692),
    "astra": MerlinConfig(contrastive_dim=None),
}
TINY: dict[str, Any] = {
    "colipri": ColipriConfig(input_shape=(32, 32, 32), embed_dim=72, depth=2, heads=4, bert=PRESETS["tiny"].bert, pooler_heads=4),
    "merlin": MerlinConfig(width=4, layers=(1, 1, 1, 1), num_labels=3),
    "astra": MerlinConfig(width=4, layers=(1, 1, 1, 1), contrastive_dim=None),
}
TINY_SIZES = {"colipri": (32, 32, 32), "merlin": (64, 64, 32), "astra": (64, 64, 32)}
KINDS = {"astra": "merlin"}
SIDE = 1024


def main() -> None:
    """Print a line an encoder, or a line a way of embedding."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoders", nargs="*", metavar="KIND|MODEL")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--scans", nargs="+", type=Path)
    parser.add_argument("--candidate", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.scans:
        embed(Path(options.encoders[0]), options.scans)
    elif options.candidate:
        print(json.dumps(measure(options.encoders[0], runs=options.runs, tiny=options.tiny)))
    else:
        report(options.encoders or list(CONFIGS), sys.argv[1:])


def report(names: Sequence[str], arguments: Sequence[str]) -> None:
    """Measure each in a process of its own."""
    flags = [argument for argument in arguments if argument not in names]
    print(
        f"{'encoder':24} {'GFLOP':>8} {'GFLOP/s':>8} {'floor':>8} {'CPU s':>8} {'x floor':>8} {'s':>8} {'loaded GiB':>11} {'peak GiB':>9}"
    )
    for name in names:
        command = [sys.executable, __file__, name, *flags, "--candidate"]
        got = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        floor = got["gflop"] / got["rate"]
        print(
            f"{Path(name).name:24} {got['gflop']:8,.0f} {got['rate']:8.1f} {floor:8.2f} {got['cpu']:8.2f} {got['cpu'] / floor:8.2f}"
            f" {got['seconds']:8.2f} {got['loaded']:11.2f} {got['peak']:9.2f}",
            flush=True,
        )


def measure(name: str, *, runs: int, tiny: bool) -> dict[str, float]:
    """Return GFLOP, the rate of products, seconds and processor seconds of the best run, and GiB."""
    if name in CONFIGS:
        spec, config, size = REGISTRY[KINDS.get(name, name)], (TINY if tiny else CONFIGS)[name], (TINY_SIZES if tiny else SIZES)[name]
        module = spec.build(config)
    else:
        folder = open_model(Path(name))
        assert folder.preprocess is not None, "it takes volumes"
        spec, config, size = folder.spec, folder.config, folder.preprocess.size
        with torch.device("meta"):
            module = spec.build(config)
        module.load_state_dict(load_state_dict(folder), assign=True)
    encoder = cast(VolumeEncoder, module.eval().requires_grad_(False))
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        shapes = cast(VolumeEncoder, spec.build(config).eval().requires_grad_(False))
        shapes.encode_volume(torch.empty(1, 1, *size))
    volume, loaded, times = torch.rand(1, 1, *size), _peak_gib(), []
    rate = 0.0
    for _ in range(runs):
        rate = max(rate, _rate())
        start, processor = time.perf_counter(), time.process_time()
        with exact_inference():
            encoder.encode_volume(volume)
        times.append((time.process_time() - processor, time.perf_counter() - start))
    cpu, seconds = min(times)
    gflop = counter.get_total_flops() / 1e9
    return {"gflop": gflop, "rate": rate, "seconds": seconds, "cpu": cpu, "loaded": loaded, "peak": _peak_gib()}


def embed(model: Path, scans: Sequence[Path]) -> None:
    """Embed scans in each way, and print the share of the time in which they were encoded."""
    network, locations = load(model, device="cpu"), find_scans(scans)
    spent = 0.0

    def encode(volumes: Sequence[Any]) -> list[Any]:
        nonlocal spent
        start = time.perf_counter()
        rows = network.encode_batch(volumes).rows()
        spent += time.perf_counter() - start
        return rows

    for words, workers, batch_size in (("thread", 1, 1), ("two processes", 2, 1), ("thread, batches of 2", 1, 2)):
        spent, start = 0.0, time.perf_counter()
        with tempfile.TemporaryDirectory() as folder, ResultTable(Path(folder) / "rows.csv", columns=ROW_COLUMNS, settings={}) as table:
            outcomes = process_scans(
                locations,
                table,
                preprocess=network.preprocess,
                reading=ReadOptions(),
                encode=encode,
                row=lambda _, embedding: latent_row(embedding.latent_BL[0].numpy()),
                batch_size=batch_size,
                workers=workers,
            )
            failed = sum(outcome.failure is not None for outcome in outcomes)
        whole = time.perf_counter() - start
        print(f"{words:24} {len(locations)} scans, {failed} failed: {whole:7.1f} s, fed {spent / whole:.0%}", flush=True)


def _rate() -> float:
    """GFLOP a processor second of a product of matrices."""
    one, other = torch.rand(SIDE, SIDE), torch.rand(SIDE, SIDE)
    one @ other
    start = time.process_time()
    for _ in range(4):
        one @ other
    return 4 * 2 * SIDE**3 / 1e9 / (time.process_time() - start)


def _peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)


if __name__ == "__main__":
    main()
