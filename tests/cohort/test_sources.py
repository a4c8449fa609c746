"""One policy of links for archives of image files: followed to files; what ends nowhere or cannot be listed is refused by name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from thoracle.cohort.layouts import bimcv_r, folder
from thoracle.cohort.prepare import prepare
from thoracle.cohort.sources import list_volumes
from thoracle.files import folder_tree


def _refuse(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    scandir = os.scandir

    def refusing(path: str | Path) -> object:
        if Path(path).name == name:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(folder_tree.os, "scandir", refusing)


def test_files_are_listed_by_their_place(tmp_path: Path) -> None:
    for name in ("b/ct/one.nii.gz", "a/ct/two.nii.gz", "a/ct/deep/three.nii.gz", "a/mr/four.nii.gz", "five.nii.gz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    paths, refused = list_volumes(tmp_path, "*/ct/*.nii.gz")
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == ["a/ct/two.nii.gz", "b/ct/one.nii.gz"]
    assert refused == []


def test_ct_rate_of_links_with_one_that_ends_nowhere_and_a_folder_that_cannot_be_listed(
    ct_rate: Path, small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    store.mkdir()
    for number, path in enumerate(sorted(ct_rate.rglob("*.nii.gz"))):
        path.rename(store / str(number))
        path.symlink_to(store / str(number))
    patient = ct_rate / "dataset" / "train_fixed" / "train_2"
    patient.rename(store / "train_2")
    patient.symlink_to(store / "train_2")
    done = prepare(ct_rate, layout="ct-rate", out=tmp_path / "out", preprocess=small)
    assert (done.volumes, done.refused) == (5, 0)
    (store / "0").unlink()
    _refuse(monkeypatch, "valid_1_a")
    done = prepare(ct_rate, layout="ct-rate", out=tmp_path / "broken", preprocess=small)
    assert (done.volumes, done.refused) == (3, 2)
    quality = (tmp_path / "broken" / "quality.csv").read_text()
    assert "train_1_a_1.nii.gz,refused,InputError" in quality
    assert "valid_fixed/valid_1/valid_1_a,refused,ScanUnreadable,the folder cannot be listed (Permission denied)" in quality


def test_a_folder_of_bimcv_r_that_cannot_be_listed_is_refused_by_name(
    tmp_path: Path, write_chest: Callable[..., Path], write_table: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, name = tmp_path / "BIMCV-R", "sub-S0{n}_ses-E1_run-1_bp-chest_ct.nii.gz"
    for n in (1, 2):
        write_chest(root / f"CT{n}" / "ct" / name.format(n=n), n)
    (root / "CT3").symlink_to(root / "CT1")  # listed once, by its own path
    write_table(root / "meta" / "curated_ct_report_path_En.csv", [{"Report_en": "Nodule.", "path": name.format(n=1)}])
    _refuse(monkeypatch, "CT2")
    sources = bimcv_r.find(root).sources
    assert [(source.volume, source.error is None) for source in sources] == [(name.format(n=1), True), ("BIMCV-R/CT2", False)]


def test_a_table_may_list_links_to_files_elsewhere_and_no_path_that_leaves(
    tmp_path: Path, write_chest: Callable[..., Path], write_table: Callable[..., Path]
) -> None:
    store = write_chest(tmp_path / "store" / "x.nii.gz")
    root = tmp_path / "scans"
    root.mkdir()
    (root / "a.nii.gz").symlink_to(store)
    (root / "b.nii.gz").symlink_to(tmp_path / "gone")
    names = ("a.nii.gz", "b.nii.gz", "../store/x.nii.gz")
    write_table(root / "scans.csv", [{"path": name, "patient": "p"} for name in names])
    errors = {source.volume: source.error and source.error.detail for source in folder.find(root).sources}
    assert errors == {
        "a.nii.gz": None,
        "b.nii.gz": "is in the table and not in the folder",
        "../store/x.nii.gz": "the path leaves the folder",
    }
