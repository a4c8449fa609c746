"""Measure seconds and peak memory of `thoracle train regions` by grid and width, on random features: `python bench/regions.py`.

Each row is a process of its own: sums at each place, their solution, a batch of the second stage, and the reading of one scan. Reading the
volumes and the encoder's pass are left out.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from itertools import pairwise

import torch

from thoracle.ct.chest.input_box import InputBox
from thoracle.models.regions.config import ReaderConfig
from thoracle.models.regions.evidence import RegionReader
from thoracle.models.regions.model import place
from thoracle.training.engine.distributed import World
from thoracle.training.regions.moments import PlaceMoments
from thoracle.training.regions.network import train_network

#: Cells along an axis, numbers of a cell, components that are used: the demo's tokens, its finer grid, and CT-CLIP's tokens.
CASES = ((8, 64, 64), (16, 18, 18), (24, 512, 16))
ALONE = World(rank=0, size=1, device=torch.device("cpu"))
_FINDINGS, _BATCH, _EPOCHS = 18, 16, 4
_BOX = InputBox(low=(0.05, 0.1, 0.15), high=(0.95, 0.9, 0.85), encloses="lungs")


def main() -> None:
    """Print one row a case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", nargs="*", type=int, help="cells, numbers, components: one case in this process")
    case = parser.parse_args().case
    if case:
        measure(*case)
        return
    print("cells, numbers, components: seconds for sums and solution and a batch of 16 and a scan; MiB at its peak, of which before")
    for case in CASES:
        subprocess.run([sys.executable, __file__, *map(str, case)], check=True)


def measure(cells: int, numbers: int, components: int) -> None:
    """Print the row of one case."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    before = peak_mib()
    grid = (cells, cells, cells)
    config = ReaderConfig(grid=grid, dim=numbers, components=components, frame=grid, sigma=0.4, hidden=96 if cells <= 8 else 32)
    reader = RegionReader(config, findings=_FINDINGS)
    reader.evidence.basis_DP.copy_(torch.eye(numbers)[:, :components])
    labels = (torch.rand(2 * _BATCH, _FINDINGS) < 0.3).float()
    moments, placed, clock = PlaceMoments(labels, places=config.places, numbers=components), [], [time.process_time()]
    for first in (0, _BATCH):
        places = place(reader, config, torch.randn(_BATCH, *grid, numbers), [_BOX] * _BATCH, margin=0.15)
        moments.add(slice(first, first + _BATCH), places)
        placed.append(places)
    clock.append(time.process_time())
    solved = moments.solve(local_weight=0.95)
    reader.evidence.weights_KNP.copy_(solved.weights_KNP)
    solution = time.process_time() - clock[-1]
    clock.append(time.process_time())
    scans = torch.cat(placed)
    for epochs in (1, _EPOCHS):  # the first also compiles kernels
        clock[-1] = time.process_time()
        train_network(reader, lambda rows: scans[rows], labels, rows=range(len(scans)), seed=0, epochs=epochs, world=ALONE)
    clock.append(time.process_time())
    with torch.inference_mode():
        reader.maps(place(reader, config, torch.randn(1, *grid, numbers), [_BOX], margin=0.15))
    clock.append(time.process_time())
    sums, _, batches, scan = (later - earlier for earlier, later in pairwise(clock))
    took = f"{sums / 2:.2f}, {solution:.2f}, {batches / (2 * _EPOCHS):.2f}, {scan:.3f} CPU s; {peak_mib():.0f} MiB, {before:.0f} before"
    print(f"{cells}, {numbers}, {components}: {took}", flush=True)


def peak_mib() -> float:
    """Return the most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
