"""The demo's regions: a model that is there is not fitted again, and each stage is a command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from thoracle.cli.demo.regions import DemoRegions
from thoracle.errors import ThoracleError


@pytest.fixture
def demo(tmp_path: Path) -> tuple[DemoRegions, list[str]]:
    commands: list[str] = []

    @contextmanager
    def stage(name: str, command: str) -> Iterator[None]:
        commands.append(command)
        yield

    return DemoRegions(encoder=tmp_path / "nowhere", out=tmp_path / "demo", stage=stage), commands


def test_a_model_that_is_there_is_not_fitted_again(demo: tuple[DemoRegions, list[str]]) -> None:
    regions, commands = demo
    regions.model.mkdir(parents=True)
    (regions.model / "config.json").write_text("{}")
    regions.fit()
    assert commands == [f"train regions {regions.encoder} {regions.out / 'cohort'} --out {regions.out / 'regions'}"]
    assert (regions.model / "config.json").read_text() == "{}"


def test_one_that_is_not_is_fitted_on_the_encoder(demo: tuple[DemoRegions, list[str]]) -> None:
    with pytest.raises(ThoracleError):
        demo[0].fit()
