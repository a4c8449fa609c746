"""The demo's regions: three commands, the first only where no model is."""

from __future__ import annotations

from pathlib import Path

import pytest

from thoracle.cli.demo.beside import Beside
from thoracle.cli.demo.regions import DemoRegions


@pytest.mark.parametrize("fitted", [True, False])
def test_a_model_that_is_there_is_not_fitted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fitted: bool) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(Beside, "run", lambda _, name, arguments: asked.append([name, *arguments]))
    regions = DemoRegions(encoder=tmp_path / "model", out=tmp_path / "demo")
    if fitted:
        regions.model.mkdir(parents=True)
        (regions.model / "config.json").write_text("{}")
    regions.measure(Beside(out=tmp_path, threads=1))
    cohort, model = str(tmp_path / "demo" / "cohort"), str(tmp_path / "demo" / "regions")
    fit = ["train regions", "train", "regions", str(tmp_path / "model"), cohort, "--out", model]
    assert (asked[0] == fit) is not fitted
    assert [words[:5] for words in asked[-2:]] == [
        ["evaluate regions", "evaluate", "detection", model, cohort],
        ["evaluate maps", "evaluate", "explanation", model, cohort],
    ]
