from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from thoracle.phantom import case
from thoracle.phantom.case import make_patient, plan_cohort
from thoracle.phantom.imaging.scanner import ReconstructionKernel, reconstruct, sample_acquisition
from thoracle.phantom.layout import nifti
from thoracle.phantom.presets import PRESETS
from thoracle.types import ABNORMALITIES

_TINY = PRESETS["tiny"]


@pytest.fixture
def scanned(painted):
    picture = painted(1, "Lung nodule")
    acquisition = sample_acquisition(np.random.default_rng(0), picture.scene.thorax.patient, _TINY)
    acquisition = replace(acquisition, grid=picture.grid)

    def scan(**how):
        wanted = ReconstructionKernel(**{"sharp": False, "thick": 1.0, "noise": 10.0, **how})
        return reconstruct(np.random.default_rng(1), picture.hu, picture.mask, acquisition, wanted)

    return scan


@pytest.mark.slow
def test_labels_reach_neither_grid_nor_metadata_nor_the_number_of_volumes(monkeypatch):
    plans = plan_cohort(8, seed=3)

    def everything():
        return [
            [(v.metadata, v.stored.hu.shape, v.stored.spacing) for v in s.volumes]
            for p in plans
            for s in make_patient(p, seed=3, preset=_TINY)
        ]

    as_drawn = everything()
    monkeypatch.setattr(case, "sample_labels", lambda rng, visits: np.ones((visits, 18), dtype=bool))
    assert everything() == as_drawn


def test_labels_do_not_reach_the_noise(monkeypatch):
    """Beside and above the patient, in air that no finding changes, the same seed gives the same noise to the sick and to the healthy."""
    plans = plan_cohort(4, seed=3)

    def air():
        scans = [scan for p in plans for scan in make_patient(p, seed=3, preset=_TINY, aligned=True)]
        return [scan.volumes[0].stored.hu[2:94, :6].astype(float) for scan in scans]

    monkeypatch.setattr(case, "sample_labels", lambda rng, visits: np.zeros((visits, 18), dtype=bool))
    healthy = air()
    monkeypatch.setattr(case, "sample_labels", lambda rng, visits: np.ones((visits, 18), dtype=bool))
    for one, other in zip(healthy, air(), strict=True):
        noise = (one > -1024) & (other > -1024) & (one < -940) & (other < -940)
        assert np.count_nonzero(noise) > 2000
        assert np.corrcoef(one[noise], other[noise])[0, 1] > 0.97
        assert one[noise].std() == pytest.approx(other[noise].std(), rel=0.1), "louder by what rays cross, and by nothing else"


@pytest.mark.slow
def test_the_size_of_a_file_does_not_give_a_finding_away(painted, seed):
    """What a finding adds to a file is lost in what dose, kernel and slice thickness do to it."""
    healthy = _sizes(painted(seed), seed)
    for name in ABNORMALITIES:
        assert abs(np.mean(_sizes(painted(seed, name), seed) - healthy)) < 0.5 * healthy.std(), name


def _sizes(picture, seed: int) -> np.ndarray:
    """Bytes of one chest's files, as several scans of it would have them."""
    sizes = []
    for dose in range(4):
        drawn = sample_acquisition(np.random.default_rng([9, dose]), picture.scene.thorax.patient, _TINY)
        scan = replace(drawn, grid=picture.grid)
        stored = reconstruct(np.random.default_rng([seed, dose]), picture.hu, picture.mask, scan, drawn.reconstructions[0])
        sizes.append(len(nifti(stored.hu, spacing=stored.spacing, origin=stored.origin)))
    return np.array(sizes)


def test_sharp_kernels_are_noisier_between_neighbours(scanned):
    def neighbours(stored):
        air = stored.hu[40:56, 1:6].astype(float)
        return np.corrcoef(air[1:].ravel(), air[:-1].ravel())[0, 1]

    assert neighbours(scanned(sharp=False, noise=6)) > neighbours(scanned(sharp=True, noise=6)) + 0.2


def test_thick_slices_keep_every_finding(scanned):
    thin, thick = scanned(), scanned(thick=1.5)
    assert thick.spacing[2] == pytest.approx(1.5 * thin.spacing[2])
    assert thick.hu.shape[2] == int(thin.hu.shape[2] / 1.5)
    assert np.bitwise_or.reduce(thick.mask, axis=None) == np.bitwise_or.reduce(thin.mask, axis=None)


@pytest.mark.parametrize("thick", [1.0, 1.5, 2.0])
def test_slices_lie_where_their_origin_says(painted, thick):
    """A ramp along z is its own ruler, to half a millimetre of rounding and the twelfth of a slice that slices of 1.5 are off."""
    patient = painted(1, "Lung nodule").scene.thorax.patient
    acquisition = sample_acquisition(np.random.default_rng(0), patient, _TINY)
    ramp = np.broadcast_to(acquisition.grid.axes[2], acquisition.grid.shape).astype(np.float32)
    wanted = ReconstructionKernel(sharp=False, thick=thick, noise=0.01)
    stored = reconstruct(np.random.default_rng(1), ramp, np.zeros(ramp.shape, dtype=np.uint32), acquisition, wanted)
    places = stored.origin[2] - acquisition.body[2] + stored.spacing[2] * np.arange(stored.hu.shape[2])
    assert stored.hu[48, 48] == pytest.approx(places, abs=0.5 + 4 / 12 + 0.02)


def test_kernels_leave_the_mean_of_tissue(scanned):
    plain, sharp = scanned(noise=0.01), scanned(noise=0.01, sharp=True)
    soft = (plain.hu > 20) & (plain.hu < 70)
    assert sharp.hu[soft].mean() == pytest.approx(plain.hu[soft].mean(), abs=6)
