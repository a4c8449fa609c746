from __future__ import annotations

from pathlib import Path

import pytest

from thoracle.inference.demo import locations


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(locations, "cache_dir", lambda: tmp_path / "cache")


def test_a_newer_demo_replaces_the_older_whole(tmp_path: Path) -> None:
    for number in range(2):
        folder = tmp_path / f"model{number}"
        folder.mkdir()
        (folder / f"file{number}").write_text(str(number))
        locations.keep_demo_model(folder)
        assert [path.name for path in locations.demo_model().iterdir()] == [f"file{number}"]
    assert [path.name for path in locations.demo_model().parent.iterdir()] == ["demo-model"], "nothing in work is left"


def test_a_chat_model_has_a_folder_for_each_part(tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "x").write_text("")
    locations.keep_demo_chat(model=tmp_path / "part", base=tmp_path / "part", encoder=tmp_path / "part")
    assert sorted(path.name for path in locations.demo_chat().iterdir()) == ["base", "encoder", "model"]
