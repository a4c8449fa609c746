from __future__ import annotations

from pathlib import Path

import pytest

from thoracle.cohort.journal import Journal, VolumeOutcome
from thoracle.errors import OutputConflict

_ONE = VolumeOutcome(volume="a", stamp="1", cache="x/y.vol", cache_sha256="ff", cache_bytes=3, source_sha256="ee", warnings=("Odd.",))
_TWO = VolumeOutcome(volume="b\n", stamp="2", error="GantryTilt", message="why")


def test_what_was_written_is_read_again_and_the_later_line_counts(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path).add([_ONE, _TWO])
    Journal(path).add([VolumeOutcome(volume="a", stamp="3", error="E")])
    assert Journal(path).outcomes == {"a": VolumeOutcome(volume="a", stamp="3", error="E"), "b\n": _TWO}


def test_a_cut_last_line_is_dropped_at_every_byte(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path).add([_ONE])
    first = path.stat().st_size
    Journal(path).add([_TWO])
    whole = path.read_bytes()
    for size in range(first, len(whole)):
        path.write_bytes(whole[:size])
        assert Journal(path).outcomes == {"a": _ONE}
        Journal(path).add([_TWO])
        assert path.read_bytes() == whole


@pytest.mark.parametrize("content", [b"VolumeName\n", b"{}\n", b"\xff\n", b'{"volume": "a", "warnings": []}\n'])
def test_another_file_is_left_as_it_is(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(content)
    with pytest.raises(OutputConflict):
        Journal(path)
    assert path.read_bytes() == content
