from __future__ import annotations

from pathlib import Path

from thoracle.cli.train import encoder


def test_a_folder_or_nothing_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert encoder.fetched("") == ""
    assert encoder.fetched(str(tmp_path / "owner" / "name")) == str(tmp_path / "owner" / "name")
    assert encoder.fetched("no-slash") == "no-slash"
    assert encoder.fetched("a/b/c") == "a/b/c"
