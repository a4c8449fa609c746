from __future__ import annotations

import csv
from pathlib import Path

import pytest

from thoracle.cohort.journal import VolumeOutcome
from thoracle.cohort.preparation.contrast_statements import contrast_counts, contrast_issues, contrast_note
from thoracle.cohort.prepare import prepare
from thoracle.cohort.technique import StatedContrast
from thoracle.ct.preprocess import PreprocessConfig

#: What the report says, what the voxels show, and what quality.csv says of the two.
CASES: list[tuple[StatedContrast, bool | None, str, str]] = [
    ("with", True, "warned", "tells of contrast agent, and the voxels are enhanced: outside CT-RATE, whose scans are without."),
    ("with", False, "warned", "tells of contrast agent, and the voxels show none: they disagree."),
    ("with", None, "warned", "tells of contrast agent, and the voxels give no verdict: outside CT-RATE, whose scans are without."),
    ("without", True, "warned", "tells of no contrast agent, and the voxels are enhanced: they disagree."),
    ("without", False, "contrast", "tells of no contrast agent, and the voxels show none."),
    ("without", None, "contrast", "tells of no contrast agent, and the voxels give no verdict."),
    ("both", True, "contrast", "tells of images with and without contrast agent, and the voxels are enhanced."),
]


@pytest.mark.parametrize(("stated", "enhanced", "status", "message"), CASES)
def test_what_report_and_voxels_say_stands_in_one_row(stated: StatedContrast, enhanced: bool | None, status: str, message: str) -> None:
    (issue,) = contrast_issues({"v": stated}, {"v": VolumeOutcome(volume="v", stamp="", enhanced=enhanced)})
    assert (issue.volume, issue.status, issue.error) == ("v", status, "")
    assert issue.message == f"The report's technique {message}"


def test_volumes_are_counted_by_both_and_refused_ones_are_left_out() -> None:
    statements: dict[str, StatedContrast] = {str(n): case[0] for n, case in enumerate(CASES)} | {"refused": "with"}
    outcomes = {str(n): VolumeOutcome(volume=str(n), stamp="", enhanced=case[1]) for n, case in enumerate(CASES)}
    outcomes |= {name: VolumeOutcome(volume=name, stamp="", enhanced=True) for name in ("silent", "silent too")}
    outcomes["refused"] = VolumeOutcome(volume="refused", stamp="", error="CorruptFile")
    volumes = [name for name in (*outcomes, "of another run") if name != "refused"]
    assert [row[1:] for row in contrast_counts(volumes, statements, outcomes)] == [(1, 1, 1), (1, 1, 1), (1, 0, 0), (2, 0, 1)]
    (note,) = contrast_note(statements, outcomes)
    assert note.endswith("3 volumes with, 3 without, 1 of examinations with both; the voxels of 2 say otherwise.")
    assert "refused" not in {issue.volume for issue in contrast_issues(statements, outcomes)}
    assert contrast_note({}, outcomes) == ()


def test_a_cohort_says_what_the_technique_of_its_reports_says(ct_rate: Path, write_table, small: PreprocessConfig, tmp_path: Path) -> None:
    """The chests of boxes are muscle of 45 HU between their lungs: not enhanced."""
    table = ct_rate / "dataset" / "radiology_text_reports" / "train_reports.csv"
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["ClinicalInformation_EN"], row["Technique_EN"] = "CT with contrast?", "Non-contrast CT."
    rows[0]["Technique_EN"] = "Contrast-enhanced CT."
    write_table(table, rows)
    summary = prepare(ct_rate, layout="ct-rate", out=tmp_path / "out", preprocess=small)
    assert any("1 volumes with, 3 without, 0 of examinations with both; the voxels of 1 say otherwise." in note for note in summary.notes)
    with (tmp_path / "out" / "quality.csv").open(newline="") as file:
        statuses = {row["VolumeName"]: row["status"] for row in csv.DictReader(file) if "technique" in row["message"]}
    assert statuses == {
        "train_1_a_1.nii.gz": "warned",
        "train_1_a_2.nii.gz": "contrast",
        "train_1_b_1.nii.gz": "contrast",
        "train_2_a_1.nii.gz": "contrast",
    }
    page = (tmp_path / "out" / "quality.html").read_text()
    assert "<tr><td>no contrast agent<td>0<td>3<td>0" in page
    assert "<tr><td>nothing of it, or the report is not in the archive now<td>0<td>1<td>0" in page


def test_a_technique_within_the_text_of_a_folders_report_counts(tmp_path: Path, write_chest, write_table, small: PreprocessConfig) -> None:
    write_chest(tmp_path / "src" / "a.nii.gz")
    report = "TECHNIQUE: CT after intravenous contrast. FINDINGS: No contrast extravasation."
    write_table(tmp_path / "src" / "scans.csv", [{"path": "a.nii.gz", "patient": "p", "report": report}])
    summary = prepare(tmp_path / "src", layout="folder", out=tmp_path / "out", preprocess=small, keep_ids=True)
    assert any("1 volumes with, 0 without" in note for note in summary.notes)
