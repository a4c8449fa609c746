from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import thoracle
from tests.ct.sketches import BODY, THROUGH, sketch
from thoracle.ct.chest.contrast import median_above
from thoracle.ct.chest.quality import assess
from thoracle.ct.volume import HeaderTags
from thoracle.phantom.cohort import write_cohort


def enhanced(text):
    return "contrast-enhanced" in text


#: Heart, great vessels, and a spine of 180 HU behind them.
HEART = [((20, -35, -10), (55, 40, 50), 42), ((0, 0, 80), (18, 18, 60), 42), ((0, 75, 0), (22, 18, THROUGH), 180)]


LUNGS = [((-85, 0, 0), (60, 85, 130), -850), ((85, 0, 0), (60, 85, 130), -850)]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.tuples(*[st.integers(2, 9)] * 3))
def test_a_median_is_above_a_threshold_where_scipys_is(seed, shape):
    cells = np.random.default_rng(seed).integers(0, 9, shape).astype(np.float32)
    for threshold in (-1, 2, 4, 5.5, 9):
        np.testing.assert_array_equal(median_above(cells, threshold), ndimage.median_filter(cells, 3) > threshold)


class TestContrastByTheVoxels:
    """The blood pool of heart and great vessels against muscle."""

    def chest_with_blood(self, hu, *, noise=15, shift=0, extra=()):
        heart = [(centre, radii, hu if value == 42 else value) for centre, radii, value in HEART]
        scan = sketch([BODY, *LUNGS, *heart, *extra], (400, 300, 340), noise=noise)
        return replace(scan, array=scan.array + np.int16(shift))

    @pytest.mark.parametrize(("hu", "noise"), [(120, 15), (150, 40), (300, 15), (480, 60)])
    def test_bright_blood_is_said(self, hu, noise):
        assert any(map(enhanced, assess(self.chest_with_blood(hu, noise=noise)).warnings))

    @pytest.mark.parametrize(("hu", "noise"), [(30, 15), (42, 15), (55, 15), (42, 60)])
    def test_blood_without_agent_is_not(self, hu, noise):
        """The spine of 180 HU behind the heart is as large as the aorta, and no blood."""
        assert not any(map(enhanced, assess(self.chest_with_blood(hu, noise=noise)).warnings))

    def test_it_is_measured_against_muscle_not_against_a_number(self):
        assert not any(map(enhanced, assess(self.chest_with_blood(42, shift=50)).warnings))
        assert any(map(enhanced, assess(self.chest_with_blood(130, shift=-30)).warnings))

    def test_wires_clips_and_calcium_are_no_blood(self):
        metal = [((20 + at, -35, -10), (3, 3, 40), 3000) for at in (-30, 0, 30)]
        calcium = [((0, 0, 80), (7, 7, 25), 600)]
        assert not any(map(enhanced, assess(self.chest_with_blood(42, extra=[*metal, *calcium])).warnings))

    def test_bright_stomach_below_the_lungs_is_no_blood(self):
        assert not any(map(enhanced, assess(self.chest_with_blood(42, extra=[((60, -20, -125), (40, 40, 35), 300)])).warnings))

    def test_the_header_and_the_blood_make_one_warning(self):
        scan = replace(self.chest_with_blood(300), tags=HeaderTags(contrast=True))
        assert len([text for text in assess(scan).warnings if "CT-RATE, whose scans are without" in text]) == 1

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("volumes/cip_ct-64.nrrd", False),  # COPD study, without
            ("volumes/totalseg_aorta_ct_cropped.nii.gz", True),  # CT angiography
            ("volumes/totalseg_pulmonary_ct_cropped.nii.gz", True),
            ("dicom/lidc_0001", True),  # its header says so, too
        ],
    )
    def test_real_scans(self, data_dir, name, expected):
        scan = replace(thoracle.read(data_dir / name), tags=HeaderTags())
        assert any(map(enhanced, assess(scan).warnings)) == expected

    def test_phantoms(self, tmp_path):
        """Twelve of them, of which one without contrast agent may be taken for one with it, as 1 of 67 is (docs/experiments.md)."""
        write_cohort(tmp_path, cases=12, seed=3, preset="tiny", workers=1)
        with (tmp_path / "radiology_text_reports/train_reports.csv").open(encoding="utf-8") as file:
            technique = {row["VolumeName"]: row["Technique_EN"] for row in csv.DictReader(file)}
        verdicts = {path.name: any(map(enhanced, assess(thoracle.read(path)).warnings)) for path in (tmp_path / "train").rglob("*.nii.gz")}
        assert len([name for name in verdicts if verdicts[name] != ("after contrast agent" in technique[name])]) <= 1
        assert len(set(verdicts.values())) == 2

    def test_what_cannot_be_judged_has_no_verdict(self):
        """No lungs on both sides, or no muscle beside them to compare with."""
        assert assess(sketch([BODY, LUNGS[0]], (400, 300, 340), noise=15)).enhanced is None
        assert assess(sketch([((0, 0, 0), (150, 100, THROUGH), -100), *LUNGS], (400, 300, 340), noise=15)).enhanced is None
        assert assess(self.chest_with_blood(42)).enhanced is False
        assert assess(self.chest_with_blood(300)).enhanced is True
