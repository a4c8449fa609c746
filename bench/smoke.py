"""Run every bench at its smallest, so that none rots: `make bench-smoke`. Its figures mean nothing.

Benches that need real data (THORACLE_DATA, default ../shared/data) are left out, saying so, where it is absent.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import yaml  # type: ignore[import-untyped]

from thoracle.inference.demo.assets import write_scan
from thoracle.types import ABNORMALITIES

BENCH = Path(__file__).parent
DATA = Path(os.environ.get("THORACLE_DATA") or BENCH.parent / ".." / "shared" / "data").resolve()
#: What other benches import, and this file.
LIBRARIES = {"naive", "smoke"}


def main() -> None:
    """Run the benches; exit with 1 if one fails or is not listed here."""
    with tempfile.TemporaryDirectory() as folder:
        commands = smallest(Path(folder))
        unlisted = {path.stem for path in BENCH.glob("*.py")} - LIBRARIES - set(commands)
        failures = [f"{name}: not listed in bench/smoke.py" for name in sorted(unlisted)]
        for name, arguments in commands.items():
            if arguments is None:
                print(f"{name:20} left out: no real data at {DATA}", flush=True)
        with ThreadPoolExecutor(max_workers=2) as pool:  # two at a time: nothing is measured here
            failures += filter(None, pool.map(lambda name: run(name, commands[name], Path(folder)), commands))
    if failures:
        sys.exit("\n".join(failures))


def run(name: str, arguments: list[object] | None, folder: Path) -> str:
    """Run one bench in the folder, print its seconds, and return what it said where it failed; "" where it did not, or is left out."""
    if arguments is None:
        return ""
    start = time.perf_counter()
    command = [sys.executable, str(BENCH / f"{name}.py"), *map(str, arguments)]
    environment = {**os.environ, "THORACLE_DATA": str(DATA), "OMP_NUM_THREADS": "1"}  # an absolute path: benches run in another folder
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    print(f"{name:20} {time.perf_counter() - start:5.1f} s{'' if ended.returncode == 0 else '  FAILED'}", flush=True)
    return f"{name}: {ended.stderr[-2000:]}" if ended.returncode else ""


def smallest(folder: Path) -> dict[str, list[object] | None]:
    """List the arguments of each bench, and write what they need into the folder; None where real data is absent."""
    real = DATA.is_dir()
    scan, labels, cohort, model = folder / "scan.nii.gz", folder / "labels.csv", folder / "cohort", folder / "model"
    write_scan(scan)
    write_labels(labels)
    halves = write_cohorts(folder, cohort)
    train(folder, cohort, model)
    view = "--seeds 0 --steps 1 --batch-size 4 --variants"
    mapped = "--sizes 36 --resamples 5 --limit 4"
    tuned = "--variants lipro --seeds 0 --tune --steps 1 --batch-size 4"
    ablated = "--seeds 0 --volumes-seen 16 --smoke 12 --resamples 2 --settings"
    return {
        "ablate": [cohort, "--phantoms", folder / "phantoms", "--out", folder / "ablate", *ablated.split(), "batch 192, in chunks of 48"],
        "cache": ["--volumes", 1, "--workers", 1, "--scan", scan],
        "chat": ["--only", "phantom"],
        "chest_boxes": [DATA, folder / "boxes.png"] if real else None,
        "classifier": ["--scans", 64, "--batch", 8],
        "cooccurrence": [labels, folder / "cooccurrence.json"],
        "detect": ["--dtype", "float32", "--runs", 1, "--skip-naive"],
        "dicom_tree": ["--series", 2],
        "edge": [model, "--cohort", cohort, "--student", model, "--out", folder / "edge", "--limit", 4, "--resamples", 2],
        "encoders": ["--tiny", "--runs", 1],
        "evaluation": ["--scans", 60, "--draws", 5],
        "feed": ["--volumes", 2, "--workers", 1, "--scan", scan, "--no-codecs"],
        "finetune": ["--start", model, "--cohort", cohort, "--out", folder / "finetune", *tuned.split()],
        "held_out_findings": [cohort, "--phantoms", folder / "phantoms", "--out", folder / "unnamed", "--steps", 1, "--resamples", 2],
        "label": ["--resamples", 2, "--phantoms", 20] if real else None,
        "label_share": [cohort, model, "--out", folder / "shares", "--shares", 0.5, "--seeds", 0, "--steps", 1, "--resamples", 2],
        "medfinder": [halves, "--out", folder / "medfinder", *view.split(), "one view"],
        "phantom": ["--presets", "tiny", "--cases", 2],
        "phantom_histograms": ["--data", DATA, "--cases", 2] if real else None,
        "phantom_shortcuts": ["--cases", 60],
        "preprocess": ["--repeat", 1],
        "region_labels": [cohort, model, "--out", folder / "by-labels", "--masks", folder / "phantoms", *mapped.split()],
        "regions": [4, 8, 4],
        "search": ["--records", 300, "--vectors", 2000, "--queries", 2],
        "search_open": ["--records", 300, "--repeat", 1],
        "serve": ["--shape", 96, 96, 60, "--records", 300, "--clients", 2, "--searches", 2, "--scans", 3],
        "train": ["--preset", "tiny", "--batch", 1],
    }


def write_labels(path: Path) -> None:
    """Write a table of random labels, as CT-RATE has them."""
    rows = (np.random.default_rng(0).random((300, len(ABNORMALITIES))) < 0.3).astype(int)
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["VolumeName", *ABNORMALITIES])
        table.writerows([f"train_{number}_a_1.nii.gz", *row] for number, row in enumerate(rows.tolist()))


def write_cohorts(folder: Path, cohort: Path) -> Path:
    """Make phantoms, as many as a fit by region needs, and prepare them for CT-CLIP and, in the folder that is returned, for MedFinder."""
    configs = BENCH.parent / "configs"
    thoracle("phantom", "--out", folder / "phantoms", "--num-scans", 72)
    for out, config in ((cohort, "phantom-tiny"), (folder / "halves", "phantom-medfinder")):
        settings = ("--preprocess", configs / f"{config}.yaml", "--dev-share", 0.2)
        thoracle("prepare", folder / "phantoms", "--layout", "ct-rate", *settings, "--out", out)
    return folder / "halves"


def train(folder: Path, cohort: Path, model: Path) -> None:
    """Train a CT-CLIP for one step."""
    settings = yaml.safe_load((BENCH.parent / "configs" / "phantom-tiny.yaml").read_text())
    settings |= {"steps": 1, "batch_size": 2, "gradient_cache_chunk": 0, "eval_every": 0, "init_text_encoder": "", "cohort": str(cohort)}
    (folder / "train.yaml").write_text(yaml.safe_dump(settings))
    thoracle("train", "contrastive", "--config", folder / "train.yaml", "--out", folder / "run")
    (folder / "run" / "model").rename(model)


def thoracle(*arguments: object) -> None:
    """Run the command; raises with what it said where it fails."""
    ended = subprocess.run([sys.executable, "-m", "thoracle", *map(str, arguments)], capture_output=True, text=True, check=False)
    if ended.returncode:
        sys.exit(ended.stderr)


if __name__ == "__main__":
    main()
