from __future__ import annotations

from pathlib import Path

import pytest

from thoracle.inference.model_locations import known_folders, locate, lookup, register


def test_a_model_is_found_again_while_it_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("THORACLE_CACHE", str(tmp_path / "cache"))
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").touch()
    assert lookup("a") is None
    register(model, "a")
    register(tmp_path / "gone", "b")
    assert (lookup("a"), lookup("b"), lookup("c")) == (model, None, None)
    assert known_folders() == [model, tmp_path / "gone"]
    for content in ("", "[]", "{", "\xff"):
        (tmp_path / "cache" / "models.json").write_text(content, "latin-1")
        assert lookup("a") is None
        register(model, "a")
        assert lookup("a") == model


def test_a_cache_that_cannot_be_written_is_no_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("THORACLE_CACHE", str(tmp_path / "file" / "below"))
    register(tmp_path, "a")
    assert lookup("a") is None


def test_a_model_is_found_by_name_unless_a_folder_is_called_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("THORACLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    assert locate("colipri") == Path("colipri")
    model = tmp_path / "somewhere"
    model.mkdir()
    (model / "config.json").touch()
    register(model, "a", "colipri")
    assert locate("colipri") == model
    assert known_folders() == [model]
    download = tmp_path / "colipri"
    download.mkdir()
    assert locate("colipri") == model, "a download is no model folder"
    (download / "config.json").touch()
    assert locate("colipri") == Path("colipri")
