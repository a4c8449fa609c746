from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from thoracle.cohort.manifest import CohortEntry, claim, open_cohort, write_manifest
from thoracle.cohort.reports import Report
from thoracle.cohort.samples.volume_cache import pack
from thoracle.config_reader import config_to_mapping
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.errors import InputError
from thoracle.evaluation.predict import (
    entry_source,
    first_volume_per_scan,
    labelled_entries,
    pending_entries,
    prefetch_volumes,
    volume_loader,
)
from thoracle.inference.batch.result_table import ResultTable

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


def test_a_row_belongs_to_the_scan_and_to_the_volume_that_was_made_of_it(cohort, tmp_path: Path) -> None:
    first, second, third = cohort.entries
    with ResultTable(tmp_path / "rows.csv", columns=("x",), settings={}) as table:
        table.add(first.volume, ("1",), source=entry_source(first))
        table.add(second.volume, ("2",), source=entry_source(replace(second, source_sha256="1" * 64)))
        table.add(third.volume, ("3",), source=entry_source(replace(third, cache_sha256="1" * 64)))
        assert pending_entries(cohort.entries, table) == [second, third]
