"""The options of how scans are read are those of one group, whichever command takes them."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from thoracle.cli.options import ReadArguments, reads_scans
from thoracle.errors import MetadataError


@pytest.fixture
def seen() -> list[tuple[Path, ReadArguments, bool]]:
    return []


@pytest.fixture
def app(seen: list[tuple[Path, ReadArguments, bool]]) -> typer.Typer:
    app = typer.Typer()

    @app.command()
    @reads_scans
    def look(
        scan: Annotated[Path, typer.Argument()],
        *,
        read_arguments: ReadArguments,
        quick: Annotated[bool, typer.Option("--quick")] = False,
    ) -> None:
        """Look."""
        seen.append((scan, read_arguments, quick))

    return app


def test_a_command_gets_the_group_from_its_options(app: typer.Typer, seen: list[tuple[Path, ReadArguments, bool]]) -> None:
    ran = CliRunner().invoke(
        app,
        ["a.nii.gz", "--quick", "--hu", "stored", "--min-slices", "3", "--uneven", "resample", "--series", "1.2", "--metadata", "m.json"],
    )
    assert ran.exit_code == 0, ran.output
    assert CliRunner().invoke(app, ["b.nii.gz"]).exit_code == 0
    assert seen == [
        (Path("a.nii.gz"), ReadArguments(metadata=Path("m.json"), hu="stored", series="1.2", min_slices=3, uneven="resample"), True),
        (Path("b.nii.gz"), ReadArguments(), False),
    ]
    for wrong in (["--hu", "guess"], ["--min-slices", "0"], ["--uneven", "guess"]):
        assert CliRunner().invoke(app, ["a.nii.gz", *wrong]).exit_code == 2


def test_a_command_is_called_from_python_with_the_same_options() -> None:
    groups: list[ReadArguments] = []

    @reads_scans
    def look(*, read_arguments: ReadArguments) -> None:
        groups.append(read_arguments)

    look(min_slices=4)
    look()
    assert groups == [ReadArguments(min_slices=4), ReadArguments()]
    assert list(inspect.signature(look).parameters) == ["metadata", "hu", "series", "min_slices", "uneven", "encoding"]


def test_a_table_is_opened_once_and_what_is_none_is_refused(tmp_path: Path) -> None:
    reading = ReadArguments(hu="rescale", min_slices=7, uneven="resample").reading(strict=True)
    assert (reading.metadata, reading.hu, reading.series, reading.min_slices, reading.uneven, reading.strict) == (
        *(None, "rescale", None, 7, "resample", True),
    )
    (tmp_path / "m.csv").write_text("a,b\n1,2\n")
    with pytest.raises(MetadataError):
        ReadArguments(metadata=tmp_path / "m.csv").reading()
