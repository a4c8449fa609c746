from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from thoracle.cohort import worker
from thoracle.cohort.samples.volume_cache import read_volume
from thoracle.cohort.sources import VolumeSource
from thoracle.cohort.worker import VOXELS_VERSION, PrepareVolume, refused, source_fingerprint
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.errors import BudgetExceeded, CodecCrashed, GantryTilt, NotCT, ScanUnreadable, TruncatedFile, WorkerKilled


def source(path: Path) -> VolumeSource:
    return VolumeSource(volume=path.name, scan="s", patient="p", path=path)


def test_a_volume_lies_in_the_cache_under_what_decides_its_voxels(write_chest, small: PreprocessConfig, tmp_path: Path) -> None:
    chest = source(write_chest(tmp_path / "chest.nii.gz"))
    prepare = PrepareVolume(cache=tmp_path / "cache", config=small)
    outcome = prepare((chest, "stamp"))
    assert (outcome.error, outcome.stamp) == ("", "stamp")
    assert read_volume(tmp_path / "cache" / outcome.cache).shape == small.size
    again = prepare((replace(chest, volume="other name"), "stamp"))
    assert again.cache == outcome.cache
    assert prepare((replace(chest, metadata={"RescaleSlope": "1"}), "stamp")).cache != outcome.cache
    assert replace(prepare, hu="stored")((chest, "stamp")).cache != outcome.cache
    assert (outcome.slices, outcome.spacing, outcome.voxels_version) == (20, (9.0, 9.0, 12.0), VOXELS_VERSION)
    assert outcome.origin.startswith("NIfTI-1; HU = 1 x stored + 0")


def test_a_scan_that_cannot_be_read_is_refused_without_its_path(small: PreprocessConfig, tmp_path: Path) -> None:
    (tmp_path / "Jane Doe.nii").write_bytes(b"no image")
    outcome = PrepareVolume(cache=tmp_path / "cache", config=small)((source(tmp_path / "Jane Doe.nii"), ""))
    assert outcome.error
    assert "Jane" not in outcome.message
    given = PrepareVolume(cache=tmp_path / "cache", config=small)((replace(source(tmp_path), error=NotCT("is MR", hint="Give CT.")), ""))
    assert (given.error, given.message) == ("NotCT", "is MR. Give CT.")
    assert not (tmp_path / "cache").exists()


def test_a_changed_file_table_setting_or_reader_has_another_fingerprint(
    write_chest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chest = source(write_chest(tmp_path / "chest.nii.gz"))
    before = source_fingerprint(chest, {"hu": "auto"})
    assert before == source_fingerprint(replace(chest, volume="v", patient="q", scan="t"), {"hu": "auto"}), "no name is in it"
    assert before != source_fingerprint(replace(chest, metadata={"RescaleSlope": "1"}), {"hu": "auto"})
    assert before != source_fingerprint(chest, {"hu": "stored"})
    assert source_fingerprint(replace(chest, series="1.2"), {}) == source_fingerprint(replace(chest, series="1.3"), {})
    assert source_fingerprint(replace(chest, series="1.2#1"), {}) != source_fingerprint(replace(chest, series="1.2#2"), {})
    monkeypatch.setattr(worker, "VOXELS_VERSION", VOXELS_VERSION + 1)
    assert before != source_fingerprint(chest, {"hu": "auto"}), "another version of the reader"
    monkeypatch.undo()
    chest.path.write_bytes(chest.path.read_bytes() + b"x")
    assert before != source_fingerprint(chest, {"hu": "auto"})
    chest.path.unlink()
    assert source_fingerprint(chest, {"hu": "auto"}) == ""


def test_what_could_steer_a_terminal_is_taken_out() -> None:
    assert refused(source(Path("v")), "", ValueError(), "a\x1b[31mb\n").message == "a [31mb"


@pytest.mark.parametrize(
    ("error", "temporary"),
    [
        (BudgetExceeded("its pixels did not decode within 60 s", hint=""), True),
        (CodecCrashed("the codec crashed", hint=""), True),
        (WorkerKilled("its worker was killed", hint=""), True),
        (ScanUnreadable("could not be read", hint=""), True),
        (PermissionError(13, "Permission denied"), True),
        (MemoryError(), True),
        (TruncatedFile("is cut", hint=""), False),
        (GantryTilt("is tilted", hint=""), False),
        (KeyError("x"), False),
    ],
)
def test_reasons_that_pass_are_told_from_those_that_stay(error: Exception, temporary: bool) -> None:
    outcome = refused(source(Path("v")), "", error, "why")
    assert (outcome.error, outcome.temporary) == (type(error).__name__, temporary)
