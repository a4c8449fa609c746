"""Chest or not: real scans, real scans changed as disease and cropping change them, and sketches of what else is scanned."""

from __future__ import annotations

import nibabel as nib
import nrrd
import numpy as np
import pytest

from tests.ct.sketches import BODY, THROUGH, sketch, volume
from thoracle.ct.chest.quality import air_around, assess


@pytest.fixture(scope="module")
def chest(data_dir):
    """The whole chest of `cip_ct-64`: array (x, y, z), spacing."""
    array, header = nrrd.read(str(data_dir / "volumes/cip_ct-64.nrrd"))
    return array, np.abs(np.diag(header["space directions"]))


@pytest.fixture(scope="module")
def lungs(data_dir):
    """The label map of its lungs, as published with it."""
    return nrrd.read(str(data_dir / "volumes/cip_lm-64.nrrd"))[0]


def lps(path):
    """A NIfTI in LPS order."""
    image = nib.load(path)
    array, spacing = np.asanyarray(image.dataobj).astype(np.int16), image.header.get_zooms()
    signs = np.sign(np.diag(image.affine)[:2]).astype(int)  # NIfTI counts towards right and anterior
    return array[:: -signs[0], :: -signs[1]], [float(step) for step in spacing]


class TestRealScans:
    def test_a_whole_chest(self, chest, lungs):
        quality = assess(volume(*chest))
        assert quality.is_chest
        assert quality.lung_cut == ()
        assert quality.warnings == ()
        labelled = (lungs > 0).sum() * np.prod(chest[1]) / 1e6
        assert quality.lung_litres == pytest.approx(labelled, rel=0.1)

    @pytest.mark.parametrize("name", ["fine_cropped", "whole_chest_coarse"])
    def test_golden_chests(self, golden_dir, name):
        assert assess(volume(*lps(golden_dir / f"preprocess/{name}.nii.gz"))).is_chest

    @pytest.mark.parametrize("name", ["totalseg_example_ct", "totalseg_example_ct_sm"])
    def test_abdomens_are_flagged(self, data_dir, name):
        quality = assess(volume(*lps(data_dir / f"volumes/{name}.nii.gz")))
        assert not quality.is_chest
        assert quality.warnings[0].startswith("This does not look like a chest")

    @pytest.mark.parametrize("name", ["totalseg_aorta_ct_cropped", "totalseg_pulmonary_ct_cropped"])
    def test_crops_of_a_chest_are_chests_in_part(self, data_dir, name):
        quality = assess(volume(*lps(data_dir / f"volumes/{name}.nii.gz")))
        assert quality.is_chest
        assert {"left", "right", "top"} <= set(quality.lung_cut)
        assert quality.warnings[0].startswith("Not all of the lungs is in the scan: cut at right, left")
        assert "small" in quality.warnings[1]


class TestChangedScans:
    @pytest.mark.parametrize(("part", "cut"), [(slice(40, None), "bottom"), (slice(0, 40), "top")])
    def test_half_a_chest(self, chest, part, cut):
        array, spacing = chest
        quality = assess(volume(array[:, :, part], spacing))
        assert quality.is_chest
        assert quality.lung_cut == (cut,)

    def test_a_slab_through_the_chest(self, chest):
        array, spacing = chest
        quality = assess(volume(array[:, :, 40:50], spacing))
        assert quality.is_chest
        assert set(quality.lung_cut) == {"bottom", "top"}

    def test_a_neck_with_the_tips_of_the_lungs(self, chest):
        array, spacing = chest
        top = np.flatnonzero((array[16:48, 16:48] < -700).sum(axis=(0, 1)) > 20)[-1]
        assert not assess(volume(array[:, :, top - 10 :], spacing)).is_chest

    def test_one_lung_gone(self, chest, lungs):
        array, spacing = chest
        x = np.arange(64)[:, None, None]
        white = np.where((lungs > 0) & (x < 32), 30, array).astype(np.int16)
        quality = assess(volume(white, spacing))
        assert quality.is_chest
        assert 1.0 < quality.lung_litres < 3.5

    def test_severe_emphysema(self, chest, lungs):
        array, spacing = chest
        thin = np.where(lungs > 0, array - 25, array).clip(-1024).astype(np.int16)
        assert (thin[lungs > 0] < -950).mean() > 0.4  # of this lung; 25% is called severe
        assert assess(volume(thin, spacing)).is_chest

    @pytest.mark.parametrize("noise", [50, 150])
    def test_low_dose(self, chest, noise):
        array, spacing = chest
        fine = np.kron(array[:, :, 20:60], np.ones((2, 2, 2), np.int16))
        noisy = fine + np.random.default_rng(0).normal(0, noise, fine.shape)
        assert assess(volume(noisy.clip(-1024, 3071).astype(np.int16), spacing / 2)).is_chest

    def test_padding_is_air(self, chest):
        array, spacing = chest
        x, y = np.ogrid[-1:1:64j, -1:1:64j]
        padded = np.where((x * x + y * y > 1)[..., None], -8192, array).astype(np.int16)
        assert assess(volume(padded, spacing)).lung_litres == pytest.approx(assess(volume(array, spacing)).lung_litres, rel=0.02)

    def test_any_memory_layout_and_type(self, chest):
        array, spacing = chest
        expected = assess(volume(array, spacing))
        for same in (np.ascontiguousarray(array), np.asfortranarray(array), array[::-1, ::-1][::-1, ::-1], array.astype(np.float32)):
            assert assess(volume(same, spacing)) == expected


SKETCHES = {
    "head": (
        [
            ((0, 0, 0), (80, 95, 110), 900),
            ((0, 0, 0), (72, 87, 102), 35),
            ((0, -70, -50), (12, 14, 14), -990),
            ((0, -60, -80), (30, 20, 9), -980),
        ],
        (220, 240, 240),
    ),
    "legs": ([((-90, 0, 0), (75, 80, THROUGH), 30), ((90, 0, 0), (75, 80, THROUGH), 30)], (400, 240, 400)),
    "abdomen and the lungs' bases": (
        [BODY, ((-75, 10, 200), (60, 80, 85), -850), ((75, 10, 200), (60, 80, 85), -850), ((60, -20, 20), (30, 25, 60), -995)],
        (400, 300, 400),
    ),
    "colon blown up with gas": ([BODY, ((-100, 0, 0), (35, 35, 150), -1000), ((95, 0, 0), (38, 35, 160), -1000)], (400, 300, 400)),
    "belly on a mattress of foam": ([((0, 175, 0), (180, 40, THROUGH), -960), BODY], (400, 420, 400)),
    "belly under blankets": ([((0, 0, 0), (185, 135, THROUGH), -900), ((0, 0, 0), (168, 118, THROUGH), -1000), BODY], (420, 320, 400)),
    "water": ([((0, 0, 0), (100, 100, THROUGH), 0)], (300, 300, 300)),
    "nothing": ([], (300, 300, 300)),
}


class TestOtherScans:
    @pytest.mark.parametrize("name", sorted(SKETCHES))
    def test_not_a_chest(self, name):
        quality = assess(sketch(*SKETCHES[name]))
        assert not quality.is_chest, quality.coverage
        assert quality.warnings[0].startswith("This does not look like a chest")

    def test_a_whole_body_has_a_chest(self):
        lungs = [((-75, 10, 300), (60, 80, 130), -850), ((75, 10, 300), (60, 80, 130), -850), ((60, -20, -100), (30, 25, 60), -995)]
        quality = assess(sketch([BODY, *lungs], (400, 300, 1000)))
        assert quality.is_chest
        assert quality.lung_cut == ()
        assert quality.lung_litres == pytest.approx(2 * 4 / 3 * np.pi * 0.6 * 0.8 * 1.3, rel=0.1)

    def test_no_lung_is_said(self):
        assert assess(sketch(*SKETCHES["legs"])).coverage == "no lung found"

    @pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 10), (600, 1, 1)])
    def test_tiny_volumes_are_judged_too(self, shape):
        assert not assess(volume(np.zeros(shape, np.int16), (1.0, 1.0, 1.0))).is_chest


def round_field(array, value):
    x, y = np.ogrid[-1 : 1 : array.shape[0] * 1j, -1 : 1 : array.shape[1] * 1j]
    return np.where((x * x + y * y > 1)[..., None], value, array)


class TestUnitsByTheAirAround:
    """Air is -1000 HU by definition; what is 60 HU off it is said."""

    @pytest.mark.parametrize(("factor", "offset"), [(0.65, 0), (1, 200), (1, 150), (1, 70), (0.9, 0), (0.8, 100), (1, -100)])
    def test_a_factor_or_an_offset_is_warned_of(self, chest, factor, offset):
        array, spacing = chest
        (warning,) = [text for text in assess(volume(array * factor + offset, spacing)).warnings if "Air around the body" in text]
        assert float(warning.split(" at ")[1].split(" HU")[0]) == pytest.approx(-1000 * factor + offset, abs=3)

    @pytest.mark.parametrize("name", ["totalseg_example_ct", "totalseg_example_ct_sm"])
    def test_other_scanners_too(self, data_dir, name):
        array, spacing = lps(data_dir / f"volumes/{name}.nii.gz")
        assert air_around(array, spacing) == pytest.approx(-1000, abs=10)
        assert air_around(array + 150, spacing) == pytest.approx(-850, abs=10)
        assert any("-850" in text or "-849" in text for text in assess(volume(array + 150, spacing)).warnings)

    @pytest.mark.parametrize("value", [-3024, -2000, 0, 3071])
    def test_padding_is_not_air(self, chest, value):
        array, spacing = chest
        assert air_around(round_field(array, value), spacing) == pytest.approx(-1000, abs=10)
        assert air_around(round_field(array + 150, value), spacing) == pytest.approx(-850, abs=10)

    def test_padding_that_was_shifted_with_the_rest_counts_as_little(self, chest):
        array, spacing = chest
        assert air_around(round_field(array, -3024) + 200, spacing) == pytest.approx(-800, abs=10)

    def test_lung_at_the_rim_of_a_crop_is_not_air(self, chest):
        array, spacing = chest
        inside = array[12:28, 26:44, 30:50]  # of the right lung
        assert (inside < -700).mean() > 0.5
        assert air_around(inside, spacing) is None or abs(air_around(inside, spacing) + 1000) <= 60

    def test_no_air_no_word(self, chest):
        assert air_around(np.full((50, 50, 50), 40, np.int16), (4.0, 4.0, 4.0)) is None
        assert air_around(np.full((1, 1, 1), 40, np.int16), (4.0, 4.0, 4.0)) is None

    @pytest.mark.parametrize("name", sorted(SKETCHES))
    def test_sketches_are_at_1000_whatever_stands_around(self, name):
        assert air_around(sketch(*SKETCHES[name]).array, (4.0, 4.0, 4.0)) == pytest.approx(-1000, abs=15)


class TestWarnings:
    def test_contrast_and_children_are_outside_the_training_set(self, chest):
        found = assess(volume(*chest, contrast=True, age_years=0.5)).warnings
        assert len(found) == 2
        assert all("outside CT-RATE" in warning for warning in found)
        assert "6 months" in found[1]
        assert "9 years" in assess(volume(*chest, age_years=9.0)).warnings[0]

    def test_what_the_reader_warns_of_is_passed_on(self, chest):
        assert assess(volume(*chest, warnings=("The images are derived.",))).warnings == ("The images are derived.",)

    def test_adults_without_contrast_are_not_warned_of(self, chest):
        assert assess(volume(*chest, contrast=False, age_years=18.0)).warnings == ()

    def test_thick_slices(self, chest):
        array, spacing = chest
        found = assess(volume(array[:, :, ::2], spacing * [1, 1, 2])).warnings
        assert found == ("Slices are 8.0 mm apart; CT-RATE's are at most 6.",)
