"""The listing tells a person what there is; what cannot be fetched ends in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import thoracle.cli.fetch  # noqa: F401 - adds the verb
from thoracle.cli.app import app
from thoracle.errors import InputError
from thoracle.models.hub.catalogue import CATALOGUE


def test_the_list_has_address_licence_and_size() -> None:
    result = CliRunner().invoke(app, ["fetch"])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    for entry in CATALOGUE.values():
        row = next(i for i, line in enumerate(lines) if line.startswith(f"{entry.name} "))
        assert all(part in lines[row] for part in (entry.purpose, entry.licence, entry.size))
        assert entry.address in lines[row + 1].split()
        assert entry.gated == ("terms" in lines[row + 1])
        brings = lines[row + 2].split("brings ")[1]
        assert brings in (", ".join(entry.files), "what --include names", "nothing: it is not on huggingface.co")


@pytest.mark.parametrize("arguments", [["ct-clip"], ["unheard-of", "--out", "x"], ["ct-rate", "--out", "x"], ["rad-chestct", "--out", "x"]])
def test_what_is_not_fetched_is_a_wrong_command(arguments: list[str]) -> None:
    assert isinstance(CliRunner().invoke(app, ["fetch", *arguments]).exception, InputError)


def test_the_files_that_came_are_printed(hub: Any, tmp_path: Path) -> None:
    hub.repositories["ibrahimhamamci/CT-RATE"] = {"a/1": b"1", "b/2": b"2", "c/3": b"3"}
    result = CliRunner().invoke(app, ["fetch", "ct-rate", "--out", str(tmp_path), "--include", "a/*", "--include", "b/*"])
    assert result.stdout.split() == [str(tmp_path / "a" / "1"), str(tmp_path / "b" / "2")]
    assert not (tmp_path / "c").exists()
