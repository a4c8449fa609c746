"""The box of the lungs is that of a label map and of a sketch, lies in the scan's millimetres, and is the same in every order of axes."""

from __future__ import annotations

import itertools

import nibabel
import nrrd
import numpy as np
import pytest

import thoracle
from tests.ct.sketches import BODY, sketch, volume
from thoracle.ct.chest.quality import assess
from thoracle.phantom.anatomy.patient import sample_patient, sample_position
from thoracle.phantom.imaging.scanner import reconstruct, sample_acquisition
from thoracle.phantom.imaging.scene import paint, sample_scene, true_lungs
from thoracle.phantom.presets import PRESETS

#: Two lungs from -130 to 130 mm across, -75 to 75 deep, -100 to 100 high.
LUNGS = (((-75, 0, 0), (55, 75, 100), -850), ((75, 0, 0), (55, 75, 100), -850))
EXTENT = (400, 300, 280)
#: mm, each face.
TOLERANCE = 10.0


def box_of(scan):
    """The box of a volume, as (6,) mm: low, then high."""
    box = assess(scan).box
    assert box is not None
    return np.array([*box.low, *box.high]), box


def test_the_box_of_a_real_chest_is_that_of_its_label_map(data_dir):
    array, header = nrrd.read(str(data_dir / "volumes/cip_ct-64.nrrd"))
    labels = nrrd.read(str(data_dir / "volumes/cip_lm-64.nrrd"))[0]  # lobes in the low byte; the windpipe has none
    spacing = np.abs(np.diag(header["space directions"]))
    found, box = box_of(volume(array, spacing))
    ends = [np.flatnonzero(((labels & 0xFF) > 0).any(axis=tuple(other for other in range(3) if other != axis))) for axis in range(3)]
    true = np.array([(end[0] - 0.5) * step for end, step in zip(ends, spacing, strict=True)])
    true = np.array([*true, *((end[-1] + 0.5) * step for end, step in zip(ends, spacing, strict=True))])
    np.testing.assert_allclose(found, true, atol=TOLERANCE)
    assert (box.encloses, box.cut) == ("lungs", ())


def test_the_box_of_a_sketch_lies_in_the_scans_own_millimetres():
    scan = sketch([BODY, *LUNGS], EXTENT)
    scan.affine[:3, 3] = (-200, -150, 900)  # so that the middle of the sketch is at (0, 0, 1040)
    found, _ = box_of(scan)
    np.testing.assert_allclose(found, (-130, -75, 940, 130, 75, 1140), atol=TOLERANCE)


def test_a_shifted_chest_has_a_shifted_box():
    moved = [((x + 24, y - 12, z + 16), radii, hu) for (x, y, z), radii, hu in (BODY, *LUNGS)]
    np.testing.assert_allclose(box_of(sketch(moved, EXTENT))[0] - box_of(sketch([BODY, *LUNGS], EXTENT))[0], (24, -12, 16) * 2, atol=4)


def test_all_48_orders_of_axes_give_the_same_box(tmp_path):
    scan = sketch([BODY, *LUNGS, ((60, -90, 60), (20, 15, 30), 300)], EXTENT, step=5.0)
    affine = np.diag([-5.0, -5.0, 5.0, 1.0])  # RAS
    affine[:3, 3] = (190, 140, -135)
    expected = None
    for order in itertools.permutations(range(3)):
        for flips in itertools.product((1, -1), repeat=3):
            array, turn = scan.array.transpose(order), np.zeros((4, 4))
            turn[3, 3] = 1
            for axis, (source, flip) in enumerate(zip(order, flips, strict=True)):
                turn[source, axis], turn[source, 3] = flip, 0 if flip == 1 else array.shape[axis] - 1
            flipped = array[tuple(slice(None, None, flip) for flip in flips)]
            path = tmp_path / "scan.nii"
            nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(flipped), affine @ turn), path)
            found, _ = box_of(thoracle.read(path))
            expected = found if expected is None else expected
            np.testing.assert_allclose(found, expected, atol=0.2)


@pytest.mark.parametrize(("part", "cut"), [(slice(30, None), "bottom"), (slice(0, 40), "top")])
def test_faces_that_cut_the_lungs_are_named(part, cut):
    scan = sketch([BODY, *LUNGS], EXTENT)
    _, box = box_of(volume(scan.array[:, :, part], scan.spacing))
    assert box.cut == (cut,)


def test_a_gap_between_arm_and_chest_is_not_in_the_box():
    arm, gap = ((186, 0, 0), (14, 60, 90), 40), ((168, 0, 0), (8, 40, 80), -900)
    found, _ = box_of(sketch([((0, 0, 0), (176, 110, 1e9), 40), arm, gap, *LUNGS], EXTENT))
    assert found[3] == pytest.approx(200 + 130, abs=TOLERANCE)


def test_the_windpipe_above_the_lungs_is_not_in_the_box():
    trachea = ((0, 0, 120), (9, 9, 60), -1000)
    found, _ = box_of(sketch([BODY, trachea, *LUNGS], EXTENT))
    assert found[5] == pytest.approx(140 + 100, abs=TOLERANCE)


@pytest.mark.parametrize("gas_hu", [-1000, -960])
def test_gas_that_half_filled_cells_join_with_lung_is_not_in_the_box(gas_hu):
    stomach, sheet = ((75, -5, -142), (38, 34, 38), gas_hu), ((75, -5, -102), (9, 9, 6), -600)
    found, _ = box_of(sketch([BODY, sheet, stomach, *LUNGS], (400, 300, 400)))
    np.testing.assert_allclose(found, (70, 75, 100, 330, 225, 300), atol=TOLERANCE)


def test_without_lung_it_is_the_box_of_the_body():
    found, box = box_of(sketch([((0, 0, 0), (160, 110, 1e9), 40)], EXTENT))
    assert box.encloses == "body"
    np.testing.assert_allclose(found[[0, 1, 3, 4]], (40, 40, 360, 260), atol=TOLERANCE)
    assert set(box.cut) == {"bottom", "top"}


@pytest.mark.parametrize("organs", [[], [((0, 0, 0), (70, 90, 120), 40)]], ids=["air", "head"])
def test_what_is_no_chest_has_none(organs):
    assert assess(sketch(organs, EXTENT)).box is None


def phantom_misses(seed: int, names: tuple[str, ...], *, aligned: bool):
    """How far the box of a phantom's volume is from that of its true lungs, mm of each face."""
    rng, preset = np.random.default_rng(seed), PRESETS["tiny"]
    patient = sample_patient(rng)
    patient = patient if aligned else sample_position(rng, patient)
    acquisition = sample_acquisition(rng, patient, preset, aligned=aligned)
    scene = sample_scene(patient, names, anatomy=rng, visit=rng, finding=lambda _: rng, finest=preset.pixel)
    hu, mask = paint(scene, acquisition.grid)
    stored = reconstruct(rng, hu, mask, acquisition, acquisition.reconstructions[0])
    scan = volume(stored.hu, stored.spacing)
    scan.affine[:3, 3] = stored.origin
    lungs, grid = true_lungs(scene, acquisition.grid), acquisition.grid
    ends = [np.flatnonzero(lungs.any(axis=tuple(other for other in range(3) if other != axis))) for axis in range(3)]
    start = np.add(grid.origin, acquisition.body)
    true = [start[axis] + grid.spacing[axis] * (ends[axis][end] + half) for end, half in ((0, -0.5), (-1, 0.5)) for axis in range(3)]
    return box_of(scan)[0] - true


@pytest.mark.parametrize("seed", range(6))
def test_the_box_of_a_phantom_with_effusion_and_consolidation_is_that_of_its_lungs(seed):
    """Of phantoms that lie as patients do: of 500, docs/experiments.md has how many are missed by more."""
    np.testing.assert_array_less(np.abs(phantom_misses(seed, ("Pleural effusion", "Consolidation"), aligned=False)), TOLERANCE)


@pytest.mark.manual
@pytest.mark.parametrize(("aligned", "most"), [(True, 4), (False, 15)])
def test_the_boxes_of_500_phantoms(aligned, most):
    """Prints what is missed by more than 10 mm; `most` is what docs/experiments.md has, and not what is aimed at."""
    random, missed = np.random.default_rng(7), []
    for seed in range(500):
        names = tuple(np.array(["Pleural effusion", "Consolidation", "Atelectasis", "Emphysema"])[random.random(4) < 0.4])
        miss = phantom_misses(1000 + seed, names, aligned=aligned)
        if np.abs(miss).max() > TOLERANCE:
            missed.append(miss)
            print(seed, names, miss.round())
    print(len(missed), "of 500")
    assert len(missed) <= most
