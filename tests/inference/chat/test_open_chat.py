"""Which chat model is opened, and what is said where none can be; the rest is tested with the command."""

from __future__ import annotations

from pathlib import Path

import pytest

from thoracle.errors import InputError
from thoracle.inference.chat.open_chat import open_chat


def test_without_a_model_the_demos_is_asked_for_and_an_adapter_needs_its_parts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("THORACLE_CACHE", str(tmp_path / "cache"))
    notes: list[str] = []
    with pytest.raises(InputError, match="thoracle demo"):
        open_chat(None, encoder=None, base=None, device="cpu", notify=notes.append)
    for parts in ({"encoder": None, "base": None}, {"encoder": tmp_path, "base": None}, {"encoder": None, "base": tmp_path}):
        with pytest.raises(InputError, match="--encoder DIR and --base DIR"):
            open_chat(tmp_path / "adapter", device="cpu", notify=notes.append, **parts)
    assert notes == []
