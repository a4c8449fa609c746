from __future__ import annotations

from pathlib import Path

import pytest

from thoracle.cohort.manifest import Cohort, open_cohort
from thoracle.cohort.preparation.pseudonym_lookup import identify
from thoracle.cohort.prepare import prepare
from thoracle.cohort.pseudonyms import SiteKey
from thoracle.errors import InputError


@pytest.fixture
def archive(tmp_path: Path, write_chest, write_table) -> Path:
    root = tmp_path / "hospital"
    rows = [("a/CT.nii.gz", "0734912", "S1"), ("b/CT.nii.gz", "0734912", "S2"), ("c/CT.nii.gz", "5550001", "S3")]
    for seed, (path, _, _) in enumerate(rows[:2]):
        write_chest(root / path, seed)
    (root / "c").mkdir()
    (root / "c" / "CT.nii.gz").write_bytes(b"no image")
    write_table(root / "t.csv", [{"path": path, "patient": who, "scan": scan, "accession": f"A{scan}"} for path, who, scan in rows])
    return root


@pytest.fixture
def cohort(archive: Path, small, tmp_path: Path) -> Cohort:
    prepare(archive, layout="folder", out=tmp_path / "out", preprocess=small, judge=False, site_key=tmp_path / "k")
    return open_cohort(tmp_path / "out")


@pytest.fixture
def key(cohort: Cohort, tmp_path: Path) -> SiteKey:
    return SiteKey.load(tmp_path / "k", outside=cohort.folder)


def test_each_pseudonym_and_each_own_name_means_its_scans_and_no_other(cohort: Cohort, archive: Path, key: SiteKey) -> None:
    def paths(name: str) -> list[str]:
        return [volume.source.path.relative_to(archive).as_posix() for volume in identify(cohort, archive, name, key=key)]

    for entry in cohort.entries:
        (volume,) = identify(cohort, archive, entry.volume, key=key)
        assert (volume.pseudonyms.volume, volume.pseudonyms.patient) == (entry.volume, entry.patient)
        assert paths(entry.scan) == paths(entry.accession) == paths(entry.volume)
        assert paths(entry.patient) == ["a/CT.nii.gz", "b/CT.nii.gz"]
    assert paths("0734912") == ["a/CT.nii.gz", "b/CT.nii.gz"]
    for name in ("b/CT.nii.gz", str(archive / "b" / "CT.nii.gz"), "S2", "AS2"):
        assert paths(name) == ["b/CT.nii.gz"]


def test_a_refused_scan_is_told_too(cohort: Cohort, archive: Path, key: SiteKey) -> None:
    refused = next(line for line in (cohort.folder / "quality.csv").read_text().splitlines() if ",refused," in line).split(",")[0]
    (volume,) = identify(cohort, archive, refused, key=key)
    assert volume.source.volume == "c/CT.nii.gz"


def test_without_the_key_nobody_is_told(cohort: Cohort, archive: Path, small, tmp_path: Path) -> None:
    name, other = cohort.entries[0].volume, SiteKey(secret=bytes(32))
    with pytest.raises(InputError, match="is not the one that its pseudonyms were made with"):
        identify(cohort, archive, name, key=other)
    with pytest.raises(InputError, match="no such file"):
        SiteKey.load(tmp_path / "absent", outside=cohort.folder)
    assert not (tmp_path / "absent").exists(), "asking makes no key"
    stored = b"".join(path.read_bytes() for path in cohort.folder.rglob("*") if path.is_file())
    assert b"CT.nii.gz" not in stored


def test_what_is_not_there_is_said(cohort: Cohort, archive: Path, key: SiteKey, small, tmp_path: Path) -> None:
    for name in ("nobody", "", "AS"):
        with pytest.raises(InputError, match="no volume in it has this name or pseudonym"):
            identify(cohort, archive, name, key=key)
    with pytest.raises(InputError, match="no such folder"):
        identify(cohort, tmp_path / "absent", "x", key=key)
    prepare(archive, layout="folder", out=tmp_path / "real", preprocess=small, judge=False, keep_ids=True)
    with pytest.raises(InputError, match="no pseudonyms"):
        identify(open_cohort(tmp_path / "real"), archive, "x", key=key)
