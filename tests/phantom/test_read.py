"""Phantoms come in through the only way in, and are what they say."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

import thoracle
from thoracle.ct.chest.quality import assess
from thoracle.phantom.cohort import write_cohort


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    out = tmp_path_factory.mktemp("cohort")
    write_cohort(out, cases=8, seed=3, workers=1)
    tables = {"train": "train", "valid": "validation"}
    return [
        (path, out / "metadata" / f"{tables[path.parts[-4]]}_metadata.csv")
        for split in tables
        for path in sorted(out.glob(f"{split}/*/*/*.gz"))
    ]


def test_units_and_places_are_the_files_with_and_without_the_metadata_row(volumes):
    intercepts = set()
    for path, table in volumes:
        alone, with_row = thoracle.read(path), thoracle.read(path, metadata=table)
        assert np.array_equal(alone.array, np.asanyarray(nibabel.load(path).dataobj))
        assert np.array_equal(alone.array, with_row.array)
        assert np.allclose(alone.affine, with_row.affine)
        assert with_row.provenance.hounsfield.ignored_rescales
        intercepts |= set(with_row.provenance.hounsfield.ignored_rescales)
    assert len(intercepts) > 1  # both vendors' habits


def test_they_pass_for_chests(volumes):
    assert all(assess(thoracle.read(path)).is_chest for path, _ in volumes)
