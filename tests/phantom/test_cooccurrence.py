from __future__ import annotations

import csv

import numpy as np
import pytest

from thoracle.phantom.cooccurrence import real_cooccurrence, sample_labels
from thoracle.types import ABNORMALITIES


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return np.concatenate([sample_labels(np.random.default_rng([7, i]), 1) for i in range(2000)])


def test_sampled_prevalences_are_the_tables(rows):
    table = real_cooccurrence().prevalence
    spread = np.sqrt(table * (1 - table) / len(rows))
    assert np.abs(rows.mean(0) - table).max() < 0.045
    assert (np.abs(rows.mean(0) - table) / spread).max() < 4


def test_sampled_correlations_are_those_of_the_real_rows(rows, data_dir):
    with (data_dir / "reports" / "ctclip_train.csv").open(newline="") as file:
        real = np.array([[int(row[name]) for name in ABNORMALITIES] for row in csv.DictReader(file)])
    assert real.mean(0) == pytest.approx(real_cooccurrence().prevalence, abs=1e-4)
    ours, theirs = np.corrcoef(rows.T), np.corrcoef(real.T)
    off = ~np.eye(18, dtype=bool)
    assert np.abs(ours - theirs)[off].mean() < 0.03  # two samples of 2,000 and 800 rows differ by 0.02 on average
    assert np.corrcoef(ours[off], theirs[off])[0, 1] > 0.95


def test_the_table_is_a_correlation_matrix():
    matrix = real_cooccurrence().correlation
    assert np.linalg.eigvalsh(matrix)[0] > 0
    assert np.array_equal(matrix, matrix.T)
    assert np.all(np.diag(matrix) == 1)


def test_later_visits_keep_the_prevalence_and_resemble_the_first():
    visits = np.stack([sample_labels(np.random.default_rng([9, i]), 3) for i in range(1500)])
    table = real_cooccurrence().prevalence
    for visit in range(3):
        assert np.abs(visits[:, visit].mean(0) - table).max() < 0.05
    same = (visits[:, 0] == visits[:, 1]).mean()
    strangers = (visits[:-1, 0] == visits[1:, 1]).mean()
    assert same > strangers + 0.08
