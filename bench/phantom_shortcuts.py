"""What a linear model learns of the labels from what it should not need: HU histograms of the scan, and grid, file size and metadata.

    python bench/phantom_shortcuts.py --cases 1500

The phantoms are tiny ones. Prints the AUROC of five-fold cross-validated logistic regressions, for each abnormality and their mean. The
histogram's must stay 0.10 under a model that sees the picture; the others should be 0.50.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from thoracle.phantom.case import PatientPlan, Scan, make_patient, plan_cohort
from thoracle.phantom.layout import nifti
from thoracle.phantom.presets import PRESETS
from thoracle.types import ABNORMALITIES

# Fine where tissues are, coarse where only metal is.
EDGES = np.concatenate([np.arange(-1030, -800, 15), np.arange(-800, -160, 40), np.arange(-160, 120, 15), np.arange(120, 400, 40)])
EDGES = np.concatenate([EDGES, [450, 550, 700, 900, 1200, 1600, 2200, 3072]])


def histogram(scan: Scan) -> np.ndarray:
    counts, _ = np.histogram(np.clip(scan.volumes[0].stored.hu, -1024, 3071), EDGES)
    return np.concatenate([np.log1p(counts), counts / counts.sum()])


def surroundings(scan: Scan) -> list[float]:
    """Numbers of grid, file, metadata and noise."""
    volume = scan.volumes[0]
    hu, row = volume.stored.hu, volume.metadata
    content = nifti(hu, spacing=volume.stored.spacing, origin=volume.stored.origin)
    middle = hu.shape[0] // 2
    air = hu[middle - 3 : middle + 3, 1:5].astype(float).std()
    vendor = [float(row["Manufacturer"] == name) for name in ("Philips", "SIEMENS", "PNMS")]
    numbers = [
        float(row[name])
        for name in ("ReconstructionDiameter", "TableHeight", "CTDIvol", "XRayTubeCurrent", "RescaleIntercept", "ExposureTime")
    ]
    person = [float(row["PatientAge"][:3]), float(row["PatientSex"] == "M"), float(row["StudyDate"])]
    return [len(content), len(content) / hu.size, hu.shape[2], *volume.stored.origin, air, len(scan.volumes), *vendor, *numbers, *person]


def describe(plan: PatientPlan, *, seed: int) -> list[tuple[np.ndarray, list[float], tuple[int, ...]]]:
    return [(histogram(scan), surroundings(scan), scan.labels) for scan in make_patient(plan, seed=seed, preset=PRESETS["tiny"])]


def auroc(features: np.ndarray, labels: np.ndarray, strength: float) -> np.ndarray:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=3000))
    scores = [cross_val_predict(model, features, column, cv=5, method="decision_function") for column in labels.T]
    return np.array([roc_auc_score(column, score) for column, score in zip(labels.T, scores, strict=True)])


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--cases", type=int, default=1500)
    arguments.add_argument("--seed", type=int, default=21)
    given = arguments.parse_args()
    with ProcessPoolExecutor() as pool:
        plans = plan_cohort(given.cases, seed=given.seed)
        found = [item for part in pool.map(partial(describe, seed=given.seed), plans, chunksize=8) for item in part]
    histograms, others, labels = (np.array(column) for column in zip(*found, strict=True))
    by_histogram = max((auroc(histograms, labels, strength) for strength in (0.003, 0.01, 0.1)), key=np.mean)
    by_others = auroc(others, labels, 0.01)
    print(f"{'AUROC of a linear model on':38s} HU histogram   grid, file, metadata, noise")
    for name, first, second in zip(ABNORMALITIES, by_histogram, by_others, strict=True):
        print(f"{name:38s} {first:8.3f} {second:14.3f}")
    print(f"{f'mean ({given.cases} scans)':38s} {by_histogram.mean():8.3f} {by_others.mean():14.3f}")


if __name__ == "__main__":
    main()
