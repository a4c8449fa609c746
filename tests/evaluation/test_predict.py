from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from thoracle.cohort.manifest import CohortEntry, claim, open_cohort, write_manifest
from thoracle.cohort.reports import Report
from thoracle.cohort.samples.volume_cache import pack
from thoracle.config_reader import config_to_mapping
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.errors import InputError
from thoracle.evaluation.predict import first_volume_per_scan, labelled_entries, prefetch_volumes, volume_loader

CONFIG = PreprocessConfig(size=(2, 3, 4))


@pytest.fixture
def cohort(tmp_path: Path):
    claim(tmp_path, {"layout": "folder", "preprocess": config_to_mapping(CONFIG)})
    entries = []
    for number, (scan, split, label) in enumerate([("a", "valid", 1), ("a", "valid", None), ("b", "train", 0)]):
        (tmp_path / "cache").mkdir(exist_ok=True)
        array = np.full(CONFIG.size, number / 10, np.float32)
        (tmp_path / "cache" / f"{number}.vol").write_bytes(pack(array, scale=CONFIG.intensity_scale))
        entries.append(
            CohortEntry(
                volume=f"v{number}",
                scan=scan,
                patient=scan,
                split=split,
                source_sha256="0" * 64,
                cache=f"cache/{number}.vol",
                cache_sha256="0" * 64,
                report=Report(findings="Clear." if scan == "a" else ""),
                labels=(label, *(None,) * 17),
            )
        )
    write_manifest(tmp_path, entries)
    return open_cohort(tmp_path)


def test_entries_are_chosen_by_label_split_and_report(cohort) -> None:
    assert [entry.volume for entry in labelled_entries(cohort, ("valid", "train"))] == ["v0", "v2"]
    assert [entry.volume for entry in first_volume_per_scan(cohort, split="valid", section="findings")] == ["v0"]
    with pytest.raises(InputError, match="no scan of split train"):
        first_volume_per_scan(cohort, split="train", section="findings")


def test_volumes_come_in_order_and_by_name_in_hounsfield_units(cohort) -> None:
    assert [(entry.volume, round(float(volume.mean()), 3)) for entry, volume in prefetch_volumes(cohort, cohort.entries)] == [
        ("v0", 0.0),
        ("v1", 0.1),
        ("v2", 0.2),
    ]
    load = volume_loader(cohort)
    assert load("v1").mean() == pytest.approx(100, abs=0.5)
    assert load("a").mean() == pytest.approx(0, abs=0.5)
    assert load("nobody") is None
