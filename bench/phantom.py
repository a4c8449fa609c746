"""Cases a second of `thoracle phantom`, by preset, everything included: painting, reports, masks, compression, writing.

python bench/phantom.py [--presets tiny small full]
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

from thoracle.phantom.cohort import write_cohort

CASES = {"tiny": 200, "small": 12, "full": 2}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--presets", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--cases", type=int, help="of each preset, in place of enough for a steady rate")
    options = parser.parse_args()
    for preset in options.presets:
        cases = options.cases or CASES[preset]
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "cohort"
            start = time.perf_counter()
            cohort = write_cohort(out, cases=cases, preset=preset, seed=1)
            seconds = time.perf_counter() - start
            size = sum(path.stat().st_size for path in out.rglob("*.nii.gz")) / 1e6
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(
            f"{preset:6s} {cases / seconds:8.2f} cases/s  {cohort.volumes / seconds:8.2f} volumes/s on {os.cpu_count()} cores,"
            f"  {size / cases:7.2f} MB a case,  peak of a worker so far {peak:6.0f} MiB"
        )


if __name__ == "__main__":
    main()
