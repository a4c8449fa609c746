"""Another model of the same weights has another fingerprint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from thoracle.inference.demo.assets import write_model
from thoracle.models.bundle.fingerprint import model_fingerprint


def test_heads_and_recipe_are_told_apart_and_the_place_is_not(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny")
    heads = replace(folder, config=replace(folder.config, ctvit=replace(folder.config.ctvit, heads=2 * folder.config.ctvit.heads)))
    window = replace(folder, preprocess=replace(folder.preprocess, hu_window=(-1000.0, 400.0)))
    weights = replace(folder, weights_sha256="0" * 64)
    assert len({model_fingerprint(one) for one in (folder, heads, window, weights)}) == 4
    moved = replace(folder, path=tmp_path / "elsewhere", licence="ours", disclaimer="Knows nothing.")
    assert model_fingerprint(moved) == model_fingerprint(folder)
