from __future__ import annotations

import pytest

from thoracle.version import __version__


def test_the_version_is_printed(command) -> None:
    assert command("--version").out.strip() == __version__


def test_help_lists_every_verb_and_the_notice(command) -> None:
    ran = command("--help")
    assert all(verb in ran.out for verb in ("detect", "train", "evaluate", "index", "vqa", "demo", "doctor"))
    assert "Not a medical device." in ran.out


@pytest.mark.parametrize(("arguments", "status"), [(("nonsense",), 2), (("detect",), 2), (("compare", "a.json", "b.json"), 2)])
def test_a_wrong_command_ends_with_2(command, arguments: tuple[str, ...], status: int) -> None:
    assert command(*arguments).status == status


def test_an_error_of_ours_is_one_line_without_a_traceback(command, tmp_path) -> None:
    ran = command("compare", tmp_path / "absent.json", tmp_path / "b.json")
    assert ran.err.startswith("InputError: ")
    assert "Traceback" not in ran.err
