from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from thoracle.errors import OutputConflict
from thoracle.files.json_file import load_json
from thoracle.files.run_settings import check_or_write_settings, check_settings

SETTINGS: dict[str, Any] = {"model": "abc", "spacing": (1.5, 0.75), "key": None}


def check(path: Path, **changes: object) -> None:
    settings = {**SETTINGS, **changes}
    check_or_write_settings(path, settings=settings, read=load_json, refusal=OutputConflict, hint="Give another.", source=path.parent)


def test_a_new_output_keeps_its_settings(tmp_path: Path) -> None:
    check(tmp_path / "run.json")
    assert (tmp_path / "run.json").read_bytes() == (b'{\n  "model": "abc",\n  "spacing": [\n    1.5,\n    0.75\n  ],\n  "key": null\n}\n')


def test_the_same_settings_continue_and_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text('{"spacing": [1.5, 0.75], "model": "abc"}')  # a null is as good as none
    check(path)
    assert path.read_text() == '{"spacing": [1.5, 0.75], "model": "abc"}'


@pytest.mark.parametrize(
    ("changes", "names"),
    [({"model": "x"}, "model"), ({"spacing": (1.5, 0.5)}, "spacing"), ({"new": 0, "key": "k"}, "key, new")],
)
def test_other_settings_are_refused_by_name(tmp_path: Path, changes: dict[str, object], names: str) -> None:
    path = tmp_path / "run.json"
    check(path)
    before = path.read_bytes()
    with pytest.raises(OutputConflict) as caught:
        check(path, **changes)
    assert str(caught.value) == f"{tmp_path}: was made with another {names}. Give another."
    assert path.read_bytes() == before


def test_a_setting_that_is_no_longer_given_is_another() -> None:
    with pytest.raises(OutputConflict, match="another old"):
        check_settings({**SETTINGS, "spacing": [1.5, 0.75], "old": 1}, settings=SETTINGS, refusal=OutputConflict, hint="", source="x")
