"""What a linear model learns of the labels from what it should not need: HU histograms of the scan, and grid, file size and metadata.

    python bench/phantom_shortcuts.py --cases 1500

The phantoms are tiny ones. Prints the AUROC of five-fold cross-validated linear models, for each abnormality and their mean. That of the
histogram must stay 0.10 under a model that sees the picture; that of grid, file, metadata and noise should be 0.50. The last, a ridge
regression on statistics of 32 mm cells, is the least that a model which knows places should reach.
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

from thoracle.phantom.case import PatientPlan, PhantomScan, make_patient, plan_cohort
from thoracle.phantom.layout import nifti
from thoracle.phantom.presets import PRESETS
from thoracle.types import ABNORMALITIES

# Fine where tissues are, coarse where only metal is.
EDGES = np.concatenate([np.arange(-1030, -800, 15), np.arange(-800, -160, 40), np.arange(-160, 120, 15), np.arange(120, 400, 40)])
EDGES = np.concatenate([EDGES, [450, 550, 700, 900, 1200, 1600, 2200, 3072]])


def histogram(scan: PhantomScan) -> np.ndarray:
    counts, _ = np.histogram(np.clip(scan.volumes[0].stored.hu, -1024, 3071), EDGES)
    return np.concatenate([np.log1p(counts), counts / counts.sum()])


def surroundings(scan: PhantomScan) -> list[float]:
    """Numbers of grid, file, metadata and noise."""
    volume = scan.volumes[0]
    hu, row = volume.stored.hu, volume.metadata
    content = nifti(hu, spacing=volume.stored.spacing, origin=volume.stored.origin)
    above = hu[:, 1:5]
    air = above[(above > -1024) & (above < -940)]  # a chest may reach this far, noise of air does not
    noise = float(air.std()) if air.size > 50 else 0.0
    vendor = [float(row["Manufacturer"] == name) for name in ("Philips", "SIEMENS", "PNMS")]
    numbers = [
        float(row[name])
        for name in ("ReconstructionDiameter", "TableHeight", "CTDIvol", "XRayTubeCurrent", "RescaleIntercept", "ExposureTime")
    ]
    person = [float(row["PatientAge"][:3]), float(row["PatientSex"] == "M"), float(row["StudyDate"])]
    return [
        len(content),
        len(content) / hu.size,
        hu.shape[2],
        *volume.stored.origin,
        noise,
        len(scan.volumes),
        *vendor,
        *numbers,
        *person,
    ]


def cells(scan: PhantomScan) -> np.ndarray:
    """Mean, extremes and spread of four windows in cells of 8 x 8 x 8 voxels; 64 slices, cut or padded at both ends."""
    hu = np.clip(scan.volumes[0].stored.hu, -1000, 1000)
    missing = max(0, 64 - hu.shape[2])
    hu = np.pad(hu, ((0, 0), (0, 0), (missing // 2, missing - missing // 2)), constant_values=-1000)
    first = (hu.shape[2] - 64) // 2
    hu = hu[:, :, first : first + 64]
    blocks = hu.reshape(12, 8, 12, 8, 8, 8).transpose(0, 2, 4, 1, 3, 5).reshape(-1, 512).astype(np.float32)
    features = []
    for low, high in ((-1000, -700), (-900, -200), (-150, 150), (150, 1000)):
        window = np.clip((blocks - low) / (high - low), 0, 1)
        features += [window.mean(1), window.max(1), window.min(1), window.std(1)]
    return np.concatenate(features)


def describe(plan: PatientPlan, *, seed: int) -> list[tuple[np.ndarray, list[float], np.ndarray, tuple[int, ...]]]:
    return [
        (histogram(scan), surroundings(scan), cells(scan), scan.labels) for scan in make_patient(plan, seed=seed, preset=PRESETS["tiny"])
    ]


def auroc(features: np.ndarray, labels: np.ndarray, strength: float) -> np.ndarray:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=3000))
    scores = [cross_val_predict(model, features, column, cv=5, method="decision_function") for column in labels.T]
    return np.array([roc_auc_score(column, score) for column, score in zip(labels.T, scores, strict=True)])


def auroc_of_cells(features: np.ndarray, labels: np.ndarray, strength: float = 0.3) -> np.ndarray:
    """Ridge regression through its kernel."""
    features = features - features.mean(0)
    features /= features.std(0) + 1e-3
    kernel = features @ features.T
    fold, scores = np.arange(len(labels)) % 5, np.zeros(labels.shape)
    for k in range(5):
        training = fold != k
        ridge = kernel[np.ix_(training, training)] + strength * np.trace(kernel) / len(kernel) * np.eye(training.sum())
        scores[~training] = kernel[np.ix_(~training, training)] @ np.linalg.solve(ridge, labels[training] - labels[training].mean(0))
    return np.array([roc_auc_score(column, score) for column, score in zip(labels.T, scores.T, strict=True)])


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--cases", type=int, default=1500)
    arguments.add_argument("--seed", type=int, default=21)
    options = arguments.parse_args()
    with ProcessPoolExecutor() as pool:
        plans = plan_cohort(options.cases, seed=options.seed)
        rows = [scan for part in pool.map(partial(describe, seed=options.seed), plans, chunksize=8) for scan in part]
    histograms, headers, grids, labels = (np.array(column) for column in zip(*rows, strict=True))
    by_histogram = max((auroc(histograms, labels, strength) for strength in (0.003, 0.01, 0.1)), key=np.mean)
    by_headers, by_cells = auroc(headers, labels, 0.01), auroc_of_cells(grids, labels)
    print(f"{'AUROC of a linear model on':38s} HU histogram   grid, file, metadata, noise   places")
    for name, *row in zip(ABNORMALITIES, by_histogram, by_headers, by_cells, strict=True):
        print(f"{name:38s} {row[0]:8.3f} {row[1]:14.3f} {row[2]:22.3f}")
    print(f"{f'mean ({options.cases} scans)':38s} {by_histogram.mean():8.3f} {by_headers.mean():14.3f} {by_cells.mean():22.3f}")


if __name__ == "__main__":
    main()
