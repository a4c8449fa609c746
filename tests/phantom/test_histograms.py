"""Phantoms have the Hounsfield units of a real chest: stated as the earth mover's distance between histograms, tissue by tissue."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import nrrd
import numpy as np
import pytest
from scipy.stats import wasserstein_distance

#: HU; one real chest, wide awake in deep inspiration, against a population.
_FARTHEST = {"lung": 45, "fat": 8, "soft tissue": 10, "bone": 50}


@pytest.fixture(scope="module")
def bench():
    path = Path(__file__).parents[2] / "bench" / "phantom_histograms.py"
    spec = importlib.util.spec_from_file_location("phantom_histograms", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_tissues_agree_with_the_real_chest(bench, data_dir):
    real = bench.tissues(nrrd.read(str(data_dir / "volumes" / "cip_ct-64.nrrd"))[0].astype(np.float32))
    ours = bench.phantom_tissues(16, seed=2)
    for tissue, farthest in _FARTHEST.items():
        assert wasserstein_distance(real[tissue], np.concatenate(ours[tissue])) < farthest, tissue


def test_the_lung_is_found_as_the_published_label_map_has_it(bench, data_dir):
    hu = nrrd.read(str(data_dir / "volumes" / "cip_ct-64.nrrd"))[0]
    labels = nrrd.read(str(data_dir / "volumes" / "cip_lm-64.nrrd"))[0]
    ours, theirs = bench.lung_voxels(hu), (labels > 0) & (labels < 512)
    assert 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()) > 0.9
