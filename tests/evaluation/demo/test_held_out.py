"""Held-out phantoms: which scans are meant, a histogram that is fitted to others, and a scan for each abnormality."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from thoracle.cohort.manifest import Cohort
from thoracle.evaluation.demo.held_out import examples, held_out, histogram_scores, phantom_file, positive_labels
from thoracle.evaluation.detection.summary import Scores
from thoracle.types import ABNORMALITIES

#: Air is where the first abnormality is, bone where it is not. Scan a has two volumes; it and c have both abnormalities, b only the first.
ROWS = [
    ("a", "valid", "", (1, 1), -900),
    ("a", "valid", "", (1, 1), 900),
    ("b", "valid", "", (1, 0), -900),
    ("c", "valid", "", (1, 1), -900),
    ("d", "valid", "", (0, None), 900),
    *((f"t{number}", "train", "", (number % 2,) * 18, -900 if number % 2 else 900) for number in range(8)),
]


@pytest.fixture
def cohort(cached_cohort: Callable[..., Cohort]) -> Cohort:
    return cached_cohort(ROWS)


def _scores(*names: str) -> Scores:
    shape = (len(names), len(ABNORMALITIES))
    probabilities = np.arange(np.prod(shape)).reshape(shape) / 1000
    return Scores(names=names, patients=names, labels=ABNORMALITIES, probabilities_NK=probabilities, truth_NK=np.full(shape, np.nan))


def test_a_scan_stands_once_by_its_first_volume(cohort: Cohort) -> None:
    scans = held_out(cohort)
    assert {name: entry.volume for name, entry in scans.items()} == {"a": "v0.nii", "b": "v2.nii", "c": "v3.nii", "d": "v4.nii"}
    assert positive_labels(scans["a"]) == list(ABNORMALITIES[:2])
    assert positive_labels(scans["d"]) == [], "what nobody says is not there"
    assert phantom_file(scans["b"]).as_posix() == "valid/b/b/v2.nii"


def test_histograms_tell_air_from_bone_by_training_volumes_in_the_order_of_the_scores(cohort: Cohort) -> None:
    before = _scores("d", "a", "b")
    after = histogram_scores(cohort, before)
    bone, *air = after.probabilities_NK[:, 0]
    assert bone < 0.5 < min(air)
    assert (after.names, after.labels) == (before.names, before.labels)
    assert after.truth_NK is before.truth_NK


@pytest.fixture
def phantoms(cohort: Cohort, tmp_path: Path) -> Path:
    """Voxels of (x, y, z) = (3, 4, 2) that name their place; in each mask bit k is the place of abnormality k."""
    places = np.arange(24, dtype=np.int16).reshape(3, 4, 2)
    for entry in held_out(cohort).values():
        for folder, array in ((tmp_path, places), (tmp_path / "masks", (places == 5) * 1 + (places == 6) * 2)):
            path = folder / phantom_file(entry)
            path.parent.mkdir(parents=True)
            nibabel.save(nibabel.Nifti1Image(array.astype(np.int16), np.eye(4)), path)
    return tmp_path


def test_each_abnormality_is_shown_in_another_scan_with_its_own_mask(cohort: Cohort, phantoms: Path) -> None:
    first, second = examples(cohort, phantoms, _scores("a", "b", "c"))
    assert (first.label, first.scan, first.probability) == (ABNORMALITIES[0], "a", 0.0)
    assert (second.label, second.scan, second.probability) == (ABNORMALITIES[1], "c", 0.037), "a was shown before; row 2, column 1"
    assert first.hu_ZHW.shape == (2, 3, 4)
    assert first.hu_ZHW[1, 0, 2] == 5, "z, x, y of the voxel 5 at x 0, y 2, z 1"
    assert np.argwhere(first.mask_ZHW).tolist() == [[1, 0, 2]]
    assert np.argwhere(second.mask_ZHW).tolist() == [[0, 0, 3]]
    alone = examples(cohort, phantoms, _scores("a"))
    assert [example.scan for example in alone] == ["a", "a"], "there is no other"
    assert examples(cohort, phantoms, _scores("d")) == []


def test_a_phantom_that_is_not_there_is_an_error(cohort: Cohort, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        examples(cohort, tmp_path, _scores("a"))
