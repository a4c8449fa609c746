"""The command settles its options before anything is loaded; tests/serving/test_start.py starts it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Command


def test_without_a_model_it_says_how_to_get_one(command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("THORACLE_CACHE", str(tmp_path))
    ran = command("serve")
    assert ran.status == 2
    assert "run `thoracle demo` once" in ran.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--host", "0.0.0.0"], "Give --token-file FILE (or THORACLE_TOKEN) and --allow-host NAME"),
        (["--upload-limit", "0"], "upload_bytes must be above 0"),
        (["--trust-proxy", "10.0.0.1"], "Give --trust-proxy and --proxy-user-header, or neither."),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(options: list[str], words: str, command: Command, model_dir: Path, tmp_path: Path) -> None:
    ran = command("serve", "--model", model_dir, "--work", tmp_path, *options)
    assert ran.status == 2
    assert words in ran.err
