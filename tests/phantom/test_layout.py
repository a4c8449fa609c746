from __future__ import annotations

import csv

from thoracle.phantom.case import plan_cohort
from thoracle.phantom.imaging.metadata import COLUMNS
from thoracle.phantom.layout import Files, tables
from thoracle.types import ABNORMALITIES


def _patients(rows):
    """Facts of one scan a patient whose metadata rows are given."""
    plans = plan_cohort(len(rows) * 3, seed=0)
    report = {"ClinicalInformation_EN": "Not given.", "Technique_EN": "", "Findings_EN": 'A, "b".', "Impressions_EN": "C."}
    facts = {"report": report, "labels": dict.fromkeys(ABNORMALITIES, 0)}
    return [(plan, {"scans": [{**facts, "volumes": [row]}]}) for plan, row in zip(plans, rows, strict=False)]


def test_metadata_is_quoted_as_the_published_table_is(data_dir):
    """Real rows, read and written again, are the published lines; only what ends a line is that of whoever copied the sample."""
    published = (data_dir / "reports" / "ctrate_metadata_sample.csv").read_text().splitlines()
    rows = list(csv.DictReader(published))
    assert tuple(rows[0]) == COLUMNS
    patients = _patients(rows)
    assert len(patients) == len(rows)
    written = {str(name): content.decode().splitlines() for name, content in tables("ct-rate", patients).items()}
    parts = [written[f"metadata/{split}_metadata.csv"] for split in ("train", "validation")]
    assert [part[0] for part in parts] == published[:1] * 2
    assert sorted(line for part in parts for line in part[1:]) == sorted(published[1:])


def test_reports_are_quoted_where_a_comma_or_a_quote_asks_for_it():
    written = {str(name): content.decode() for name, content in tables("ct-rate", _patients([dict.fromkeys(COLUMNS, "x")])).items()}
    head, row = written["radiology_text_reports/train_reports.csv"].splitlines()
    assert head == "VolumeName,ClinicalInformation_EN,Technique_EN,Findings_EN,Impressions_EN"
    assert row == 'x,Not given.,,"A, ""b"".",C.'
    assert written["multi_abnormality_labels/train_predicted_labels.csv"].splitlines()[0] == ",".join(("VolumeName", *ABNORMALITIES))


def test_volumes_lie_where_each_archive_has_them():
    plan = plan_cohort(1, seed=0)[0]
    assert str(Files(layout="ct-rate").volume(plan, "train_1_a_1.nii.gz")) == "train/train_1/train_1_a/train_1_a_1.nii.gz"
    assert str(Files(layout="ct-rate").mask(plan, "train_1_a_1.nii.gz")) == "masks/train/train_1/train_1_a/train_1_a_1.nii.gz"
    first, second = (str(Files(layout="bimcv-r").volume(plan, f"train_1_{visit}_2.nii.gz")) for visit in "ab")
    assert first == "CT1/ct/sub-S00001_ses-E000010_run-2_bp-chest_ct.nii.gz"
    assert second != first
