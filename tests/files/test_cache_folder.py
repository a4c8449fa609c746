from __future__ import annotations

from pathlib import Path

import pytest

from thoracle.files.cache_folder import cache_dir


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"THORACLE_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, "/a"),
        ({"XDG_CACHE_HOME": "/b"}, "/b/thoracle"),
        ({"XDG_CACHE_HOME": "", "HOME": "/c"}, "/c/.cache/thoracle"),
    ],
)
def test_the_users_own_choice_comes_first(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str) -> None:
    for name in ("THORACLE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_dir() == Path(expected)
