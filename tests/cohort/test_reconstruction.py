from __future__ import annotations

from pathlib import Path

import pytest

from thoracle.cohort.reconstruction import ReconstructionFilter
from thoracle.cohort.sources import VolumeSource
from thoracle.errors import InputError

#: volume, scan, kernel, mm
_VOLUMES = (
    ("s1_1", "s1", "Br40f", 3.0),
    ("s1_2", "s1", "Br60f", 1.0),
    ("s1_3", "s1", "Br44", 1.0),
    ("s2_1", "s2", "B", 1.5),
    ("s2_2", "s2", "YA", 0.75),
    ("s3_1", "s3", "", None),
)
_SOURCES = [VolumeSource(volume=v, scan=s, patient=s, path=Path(v), kernel=k, slice_spacing_mm=mm) for v, s, k, mm in _VOLUMES]


@pytest.mark.parametrize(
    ("text", "chosen", "without"),
    [
        ("all", ["s1_1", "s1_2", "s1_3", "s2_1", "s2_2", "s3_1"], []),
        ("kernel=br4*,B", ["s1_3", "s2_1"], ["s3"]),
        ("kernel=YA,Br60?", ["s1_2", "s2_2"], ["s3"]),
        ("kernel=B", ["s2_1"], ["s1", "s3"]),
        ("thickness=1.5", ["s1_2", "s2_1"], ["s3"]),
        ("thickness=5", ["s1_1", "s2_1"], ["s3"]),
    ],
)
def test_one_volume_of_each_scan_is_chosen_or_all(text: str, chosen: list[str], without: list[str]) -> None:
    reconstruction = ReconstructionFilter.parse(text)
    kept, none = reconstruction.choose(_SOURCES)
    assert [source.volume for source in kept] == chosen
    assert none == without
    assert ReconstructionFilter.parse(str(reconstruction)) == reconstruction


@pytest.mark.parametrize("text", ["", "kernel=", "kernel=,", "thickness=", "thickness=-1", "thickness=nan", "sharp"])
def test_another_word_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="kernel=Br4"):
        ReconstructionFilter.parse(text)
