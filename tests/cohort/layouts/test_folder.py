from __future__ import annotations

from pathlib import Path

import pytest

from thoracle.cohort.layouts.folder import find
from thoracle.cohort.manifest import open_cohort
from thoracle.cohort.prepare import prepare
from thoracle.errors import LayoutMismatch, MetadataError, SplitLeak


@pytest.fixture
def root(tmp_path: Path, write_chest, write_table) -> Path:
    root = tmp_path / "scans"
    for seed, name in enumerate(("JANE-DOE/one.nii.gz", "JANE-DOE/two.nii.gz", "three.nii.gz")):
        write_chest(root / name, seed)
    rows = (
        {"path": "JANE-DOE/one.nii.gz", "patient": "SECRET-1", "split": "test", "findings": "A (b).", "impression": "C.", "Emphysema": 1},
        {"path": "JANE-DOE/two.nii.gz", "patient": "SECRET-1", "split": "test", "findings": "", "impression": "", "Emphysema": ""},
        {"path": "three.nii.gz", "patient": "SECRET-2", "split": "", "findings": "D.", "impression": "", "Emphysema": 0},
        {"path": "four.nii.gz", "patient": "SECRET-2", "split": "", "findings": "", "impression": "", "Emphysema": 0},
        {"path": "../out.nii.gz", "patient": "SECRET-3", "split": "", "findings": "", "impression": "", "Emphysema": 0},
        {"path": "JANE-DOE", "patient": "", "split": "", "findings": "", "impression": "", "Emphysema": 0},
    )
    write_table(root / "scans.csv", rows)
    write_chest(tmp_path / "out.nii.gz")
    return root


def test_the_table_says_which_file_is_whose(root: Path, small, tmp_path: Path) -> None:
    done = prepare(root, layout="folder", out=tmp_path / "out", preprocess=small, keep_ids=True)
    assert (done.volumes, done.refused) == (3, 3)
    one, two, three = open_cohort(tmp_path / "out").entries
    assert (one.volume, one.patient, one.split, two.split) == ("JANE-DOE/one.nii.gz", "SECRET-1", "test", "test")
    assert one.report.text("both") == "A b. C."
    assert (one.labels[7], two.labels[7], three.labels[7], three.labels[0]) == (1, None, 0, None)


def test_names_become_pseudonyms_unless_they_are_to_be_kept(root: Path, small, tmp_path: Path) -> None:
    key = tmp_path / "site.key"
    prepare(root, layout="folder", out=tmp_path / "out", preprocess=small, site_key=key)
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            assert not any(word in path.read_bytes() for word in (b"SECRET", b"JANE", b"three.nii", b"four")), path.name
    patients = [entry.patient for entry in open_cohort(tmp_path / "out").entries]
    assert sorted(patients.count(patient) for patient in set(patients)) == [1, 2]


def test_a_patient_the_table_puts_into_two_splits_is_a_leak(root: Path, write_table, small, tmp_path: Path) -> None:
    rows = [{"path": name, "patient": "p", "split": split} for name, split in (("three.nii.gz", "train"), ("JANE-DOE/one.nii.gz", "test"))]
    write_table(root / "scans.csv", rows)
    with pytest.raises(SplitLeak, match="patient"):
        prepare(root, layout="folder", out=tmp_path / "out", preprocess=small, keep_ids=True)


def test_a_table_without_patients_and_a_file_listed_twice_are_errors(root: Path, write_table) -> None:
    write_table(root / "scans.csv", [{"path": "three.nii.gz", "patient": patient} for patient in ("p", "q")])
    with pytest.raises(MetadataError, match="lists one file twice, in lines 2 and 3"):
        find(root)
    write_table(root / "scans.csv", [{"path": "three.nii.gz", "patient": "p"}] * 2)
    assert [source.volume for source in find(root).sources] == ["three.nii.gz"]
    write_table(root / "scans.csv", [{"path": "three.nii.gz"}])
    with pytest.raises(LayoutMismatch, match="patient"):
        find(root)


def test_paths_in_another_spelling_are_found_and_a_table_of_others_is_refused(tmp_path: Path, write_chest, write_table) -> None:
    write_chest(tmp_path / "Müller" / "ct.nii.gz")
    for listed in ("Mu\u0308ller/ct.nii.gz", "Müller\\ct.nii.gz ", "Müller/ct"):
        write_table(tmp_path / "scans.csv", [{"path": listed, "patient": "p"}, {"path": "gone.nii.gz", "patient": "q"}])
        assert [source.error is None for source in find(tmp_path).sources].count(True) == 1
    write_table(tmp_path / "scans.csv", [{"path": f"other/{n}.nii.gz", "patient": "p"} for n in range(3)])
    with pytest.raises(MetadataError, match="none of the 3 files that its column path names is in the folder"):
        find(tmp_path)


def test_a_patient_of_no_name_is_nobody(tmp_path: Path, write_chest, write_table) -> None:
    """Or all patients that a database has not named would be one."""
    write_chest(tmp_path / "ct.nii.gz")
    write_table(tmp_path / "scans.csv", [{"path": "ct.nii.gz", "patient": "NULL"}])
    assert "names no patient" in str(find(tmp_path).sources[0].error)
