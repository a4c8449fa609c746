"""A prepared cohort of noise, and a tiny untrained model that takes it: what commands do, and nothing of what they find."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from thoracle.cohort.cache import pack
from thoracle.cohort.manifest import Entry, claim, write_manifest
from thoracle.cohort.reports import Report
from thoracle.models.folder import open_model
from thoracle.types import ABNORMALITIES

PATIENTS = 16


@pytest.fixture(scope="session")
def noise(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen patients of split valid and two of train, the first with two volumes of a scan."""
    folder, preprocess = tmp_path_factory.mktemp("cohorts") / "noise", open_model(model_dir).preprocess
    assert preprocess is not None
    claim(folder, {"layout": "ct-rate", "preprocess": preprocess.as_dict()})
    entries = []
    for patient in range(PATIENTS + 2):
        split = "valid" if patient < PATIENTS else "train"
        random = np.random.default_rng(patient)
        labels = tuple(int(one) for one in random.integers(2, size=len(ABNORMALITIES)))
        for volume in range(2 if patient == 0 else 1):
            array = np.repeat(random.uniform(-1, 1, (preprocess.size[0], 1, 1)), preprocess.size[1], axis=1)
            array = np.repeat(array, preprocess.size[2], axis=2).astype(np.float32)
            name = f"{split}_{patient}_a_{volume + 1}"
            (folder / "cache").mkdir(exist_ok=True)
            (folder / "cache" / f"{name}.vol").write_bytes(pack(array, scale=preprocess.scale))
            entries.append(
                Entry(
                    volume=f"{name}.nii.gz",
                    scan=f"{split}_{patient}_a",
                    patient=f"{split}_{patient}",
                    split=split,
                    source_sha256=f"{patient:064x}",
                    cache=f"cache/{name}.vol",
                    cache_sha256="0" * 64,
                    report=Report(findings=f"{ABNORMALITIES[patient % 18]} is present."),
                    labels=labels,
                )
            )
    write_manifest(folder, sorted(entries, key=lambda entry: entry.volume))
    return folder
