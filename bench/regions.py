"""Measure seconds and peak memory of `thoracle train regions` by grid and width, on random features: `python bench/regions.py`.

Each row is a process of its own: sums at each place, their solution, and the map of one scan. Reading the volumes and the encoder's pass
are left out.
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
from thoracle.models.regions.evidence import PlaceEvidence
from thoracle.models.regions.frame import frame_resampling
from thoracle.models.regions.model import place
from thoracle.training.regions.moments import PlaceMoments
from thoracle.training.regions.run import MARGIN

#: Cells along an axis, numbers of a cell, components that are used: the demo's tokens, its finer grid, and CT-CLIP's tokens twice.
CASES = ((8, 64, 64), (16, 18, 18), (24, 512, 16), (24, 512, 64))
_FINDINGS, _BATCH = 18, 16
_BOX = InputBox(low=(0.05, 0.1, 0.15), high=(0.95, 0.9, 0.85), encloses="lungs")


def main() -> None:
    """Print one row a case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", nargs="*", type=int, help="cells, numbers, components: one case in this process")
    case = parser.parse_args().case
    if case:
        measure(*case)
        return
    print("cells, numbers, components: seconds for sums of 16 scans and solution and a scan's map; MiB at its peak, of which before")
    for case in CASES:
        subprocess.run([sys.executable, __file__, *map(str, case)], check=True)


def measure(cells: int, numbers: int, components: int) -> None:
    """Print the row of one case."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    before = peak_mib()
    grid = (cells, cells, cells)
    config = ReaderConfig(grid=grid, dim=numbers, components=components, frame=grid, sigma=0.4)
    reader = PlaceEvidence(config, findings=_FINDINGS)
    reader.basis_DP.copy_(torch.eye(numbers)[:, :components])
    moments = PlaceMoments((torch.rand(2 * _BATCH, _FINDINGS) < 0.3).float(), places=config.places, numbers=components)
    clock = [time.process_time()]
    with torch.inference_mode():
        for first in (0, _BATCH):
            places = place(reader, torch.randn(_BATCH, *grid, numbers), [_BOX] * _BATCH, margin=MARGIN)
            moments.add(slice(first, first + _BATCH), places)
        clock.append(time.process_time())
        solved = moments.solve(local_weight=0.95)
        reader.weights_KNP.copy_(solved.weights_KNP)
        reader.prior_KN.copy_(solved.prior_KN)
        scan = torch.randn(1, *grid, numbers)
        for _ in range(2):  # the first also compiles kernels
            clock[2:] = [time.process_time()]
            resampling = frame_resampling([_BOX], grid=grid, frame=grid, margin=MARGIN, device=scan.device)
            reader.map_cells(reader.reduce(scan), resampling)
            clock.append(time.process_time())
    sums, solution, mapped = (later - earlier for earlier, later in pairwise(clock))
    took = f"{sums / 2:.2f}, {solution:.2f}, {mapped:.3f} CPU s; {peak_mib():.0f} MiB, {before:.0f} before"
    print(f"{cells}, {numbers}, {components}: {took}", flush=True)


def peak_mib() -> float:
    """Return the most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
