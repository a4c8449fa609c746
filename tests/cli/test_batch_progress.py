from __future__ import annotations

from pathlib import Path

import pytest

from thoracle.cli.batch_progress import follow, select
from thoracle.errors import InputError
from thoracle.inference.batch.discover_scans import ScanLocation
from thoracle.inference.batch.runner import ScanFailure, ScanOutcome

SCANS = [ScanLocation(name=f"s{number}", path=Path(f"s{number}.nii")) for number in range(5)]


def test_a_shard_has_its_scans_and_a_file_of_its_own() -> None:
    assert select(SCANS, Path("out.csv"), None, metadata=None) == (SCANS, Path("out.csv"))
    parts = [select(SCANS, Path("out.csv"), f"{number}/2", metadata=None) for number in (1, 2)]
    assert sorted(scan.name for scans, _ in parts for scan in scans) == [scan.name for scan in SCANS]
    assert [path.name for _, path in parts] == ["out.1-of-2.csv", "out.2-of-2.csv"]
    with pytest.raises(InputError):
        select(SCANS, Path("out.csv"), "3/2", metadata=None)


def test_failures_are_named_and_counted_and_the_notice_stands_below(capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = [ScanOutcome(name="s0", failure=None), ScanOutcome(name="[s1]", failure=ScanFailure(error="NotCT", message="is MR"))]
    assert follow(iter(outcomes), total=2, before=3, out=Path("out.csv"), trained=False) == 1
    printed = capsys.readouterr().err
    assert "[s1]: NotCT: is MR" in printed
    assert "1 done, 3 done before, 1 failed: out.csv" in printed
    assert "UNTRAINED" in printed
    assert "Not a medical device." in printed


def test_ctrl_c_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted():
        yield ScanOutcome(name="s0", failure=None)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        follow(interrupted(), total=2, before=0, out=Path("out.csv"), trained=True)
    assert "goes on from there" in capsys.readouterr().err
