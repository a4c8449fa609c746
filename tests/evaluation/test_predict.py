from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from thoracle.cohort.manifest import Cohort
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


@pytest.fixture
def cohort(cached_cohort: Callable[..., Cohort]) -> Cohort:
    return cached_cohort([("a", "valid", "Clear.", (1,), 0), ("a", "valid", "Clear.", (), 100), ("b", "train", "", (0,), 200)])


def test_entries_are_chosen_by_label_split_and_report(cohort) -> None:
    assert [entry.volume for entry in labelled_entries(cohort, ("valid", "train"))] == ["v0.nii", "v2.nii"]
    assert [entry.volume for entry in first_volume_per_scan(cohort, split="valid", section="findings")] == ["v0.nii"]
    with pytest.raises(InputError, match="no scan of split train"):
        first_volume_per_scan(cohort, split="train", section="findings")


def test_volumes_come_in_order_and_by_name_in_hounsfield_units(cohort) -> None:
    assert [(entry.volume, round(float(volume.mean()), 3)) for entry, volume in prefetch_volumes(cohort, cohort.entries)] == [
        ("v0.nii", 0.0),
        ("v1.nii", 0.1),
        ("v2.nii", 0.2),
    ]
    load = volume_loader(cohort)
    assert load("v1.nii").mean() == pytest.approx(100, abs=0.5)
    assert load("a").mean() == pytest.approx(0, abs=0.5)
    assert load("nobody") is None


def test_a_row_belongs_to_the_scan_and_to_the_volume_that_was_made_of_it(cohort, tmp_path: Path) -> None:
    first, second, third = cohort.entries
    with ResultTable(tmp_path / "rows.csv", columns=("x",), settings={}) as table:
        table.add(first.volume, ("1",), source=entry_source(first))
        table.add(second.volume, ("2",), source=entry_source(replace(second, source_sha256="1" * 64)))
        table.add(third.volume, ("3",), source=entry_source(replace(third, cache_sha256="1" * 64)))
        assert pending_entries(cohort.entries, table) == [second, third]
