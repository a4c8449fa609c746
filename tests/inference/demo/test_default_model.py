"""Which model is used where none is named, and that this is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from thoracle.errors import InputError
from thoracle.inference.demo.default_model import model_or_demo
from thoracle.inference.demo.locations import demo_model, keep_demo_model


def test_a_named_model_goes_before_the_demos_and_the_demos_is_said(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("THORACLE_CACHE", str(tmp_path / "cache"))
    notes: list[str] = []
    with pytest.raises(InputError, match="thoracle demo"):
        model_or_demo(None, notify=notes.append)
    keep_demo_model(model_dir)
    assert model_or_demo(model_dir, notify=notes.append) == model_dir
    assert notes == []
    assert model_or_demo(None, notify=notes.append) == demo_model()
    assert notes == ["No --model was given: this is the demo's, which knows only phantoms."]
