"""A chest of boxes in a NIfTI file, and an archive laid out as CT-RATE publishes it."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from thoracle.ct.preprocess import PreprocessConfig
from thoracle.types import ABNORMALITIES

WriteChest = Callable[..., Path]
WriteTable = Callable[..., Path]


def _chest(seed: int = 0) -> np.ndarray:
    """(32, 28, 20) HU with noise of its own: air, fat, muscle, lungs, a spine."""
    hu = np.full((32, 28, 20), -1000.0)
    hu[2:30, 3:25] = -100
    hu[4:28, 5:23] = 45
    hu[6:14, 7:20, 3:17] = hu[18:26, 7:20, 3:17] = -850
    hu[14:18, 18:22] = 300
    return np.clip(hu + np.random.default_rng(seed).normal(0, 12, hu.shape), -1024, 3071).round().astype(np.int16)


@pytest.fixture(scope="session")
def small() -> PreprocessConfig:
    """16 x 20 x 24 voxels that show all of a scan of `write_chest`."""
    return PreprocessConfig(spacing=(16.0, 12.0, 12.0), size=(16, 20, 24))


@pytest.fixture(scope="session")
def write_chest() -> WriteChest:
    """`write_chest(path, seed=0, step=12.0)` writes a file with a right header, as CT-RATE's second version has, unlike for each seed."""

    def write(path: Path, seed: int = 0, step: float = 12.0) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(_chest(seed), np.diag([-9.0, -9.0, step, 1.0])), path)
        return path

    return write


@pytest.fixture(scope="session")
def write_table() -> WriteTable:
    """`write_table(path, rows)`: a CSV with the columns of the first row."""

    def write(path: Path, rows: Iterable[Mapping[str, object]]) -> Path:
        rows = list(rows)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return path

    return write


def _place(name: str, folder: str) -> str:
    """train_fixed/train_1/train_1_a/train_1_a_1.nii.gz for "train_1_a_1.nii.gz"."""
    split, patient, scan, _ = name.split("_")
    return f"{folder}/{split}_{patient}/{split}_{patient}_{scan}/{name}"


_NAMES = ("train_1_a_1.nii.gz", "train_1_a_2.nii.gz", "train_1_b_1.nii.gz", "train_2_a_1.nii.gz", "valid_1_a_1.nii.gz")
_KERNELS = ("['Br40f', '3']", "['Br60f', '3']", "B", "YA", "B")
_STEPS = (12.0, 10.0, 11.0, 11.0, 11.0)


@pytest.fixture
def ct_rate(tmp_path: Path, write_chest: WriteChest, write_table: WriteTable) -> Path:
    """CT-RATE's second version: two reconstructions of a scan, a second scan of that patient, two more patients; all tables."""
    root = tmp_path / "CT-RATE"
    for seed, name in enumerate(_NAMES):
        write_chest(root / "dataset" / _place(name, name.split("_")[0] + "_fixed"), seed, _STEPS[seed])
    for split, long in (("train", "train"), ("valid", "validation")):
        rows = [(n, name) for n, name in enumerate(_NAMES) if name.startswith(split)]
        write_table(
            root / "dataset" / "radiology_text_reports" / f"{long}_reports.csv",
            (
                {
                    "VolumeName": name,
                    "ClinicalInformation_EN": "Not given.",
                    "Technique_EN": "Not given.",
                    "Findings_EN": f'Nodule ({n} mm) in the patient\'s "left" lung, upper lobe.\nNo effusion.',
                    "Impressions_EN": "Not given." if n == 3 else f"Nodule {n}.",
                }
                for n, name in rows
            ),
        )
        write_table(
            root / "dataset" / "metadata" / f"{long}_metadata.csv",
            (
                {
                    "VolumeName": name,
                    "ConvolutionKernel": _KERNELS[n],
                    "XYSpacing": "[9.0, 9.0]",
                    "RescaleIntercept": -1024,
                    "RescaleSlope": 1,
                    "ZSpacing": _STEPS[n],
                }
                for n, name in rows
            ),
        )
        write_table(
            root / "dataset" / "multi_abnormality_labels" / f"{split}_predicted_labels.csv",
            ({"VolumeName": name} | {label: int(n == k) for k, label in enumerate(ABNORMALITIES)} for n, name in rows),
        )
    return root
