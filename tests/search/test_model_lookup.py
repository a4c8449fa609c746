"""Where an index's model is looked for: as named, as remembered, the demo's."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from thoracle.errors import InputError
from thoracle.inference.demo.assets import write_model
from thoracle.inference.demo.locations import demo_model, keep_demo_model
from thoracle.search.model_lookup import model_of


def test_a_named_model_is_remembered_and_the_demos_comes_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("THORACLE_CACHE", str(tmp_path / "cache"))
    folder, notes = write_model(tmp_path / "model"), []
    index = SimpleNamespace(settings={"model": folder.weights_sha256})
    with pytest.raises(InputError, match="thoracle demo"):
        model_of(index, folder=None, device="cpu", notify=notes.append)
    keep_demo_model(folder.path)
    assert model_of(index, folder=None, device="cpu", notify=notes.append).folder.path == demo_model()
    assert len(notes) == 1
    assert model_of(index, folder=folder.path, device="cpu", notify=notes.append).folder.path == folder.path
    assert model_of(index, folder=None, device="cpu", notify=notes.append).folder.path == folder.path
    assert len(notes) == 1
