from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from thoracle.cohort.samples.volume_cache import read_volume
from thoracle.cohort.sources import VolumeSource
from thoracle.cohort.worker import PrepareVolume, refused, source_fingerprint
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.errors import NotCT


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


def test_a_scan_that_cannot_be_read_is_refused_without_its_path(small: PreprocessConfig, tmp_path: Path) -> None:
    (tmp_path / "Jane Doe.nii").write_bytes(b"no image")
    outcome = PrepareVolume(cache=tmp_path / "cache", config=small)((source(tmp_path / "Jane Doe.nii"), ""))
    assert outcome.error
    assert "Jane" not in outcome.message
    given = PrepareVolume(cache=tmp_path / "cache", config=small)((replace(source(tmp_path), error=NotCT("is MR", hint="Give CT.")), ""))
    assert (given.error, given.message) == ("NotCT", "is MR. Give CT.")
    assert not (tmp_path / "cache").exists()


def test_a_changed_file_or_table_has_another_fingerprint(write_chest, tmp_path: Path) -> None:
    chest = source(write_chest(tmp_path / "chest.nii.gz"))
    before = source_fingerprint(chest)
    assert before == source_fingerprint(chest)
    assert before != source_fingerprint(replace(chest, metadata={"RescaleSlope": "1"}))
    chest.path.write_bytes(chest.path.read_bytes() + b"x")
    assert before != source_fingerprint(chest)
    chest.path.unlink()
    assert source_fingerprint(chest) == ""


def test_what_could_steer_a_terminal_is_taken_out() -> None:
    assert refused(source(Path("v")), "", ValueError(), "a\x1b[31mb\n").message == "a [31mb"
