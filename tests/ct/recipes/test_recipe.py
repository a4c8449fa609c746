"""Recipes as settings: read and written as JSON, told from CT-CLIP's, refused by the name of the field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from thoracle.config_reader import config_to_mapping
from thoracle.ct.preprocess import PreprocessConfig, preprocessing_from_mapping
from thoracle.ct.recipes.published import ASTRA_CHEST, COLIPRI, MERLIN, SPECTRE
from thoracle.ct.recipes.recipe import Recipe
from thoracle.errors import InputError


@pytest.mark.parametrize("config", [COLIPRI, MERLIN, ASTRA_CHEST, SPECTRE, PreprocessConfig(), PreprocessConfig(size=(8, 8, 8))])
def test_settings_live_in_json(config: Recipe | PreprocessConfig) -> None:
    assert preprocessing_from_mapping(json.loads(json.dumps(config_to_mapping(config))), source="config.json") == config


def test_nothing_is_ct_clips() -> None:
    assert preprocessing_from_mapping({}, source="config.json") == PreprocessConfig()


def test_units_of_inputs() -> None:
    units = [(c.intensity_scale, c.zero_hu, c.pad_value) for c in (PreprocessConfig(), COLIPRI, MERLIN, ASTRA_CHEST)]
    assert units == [(1000, 0, -1), (1000, 0, -1), (2000, -1000, 0), (1200, -1000, 0)]
    assert [c.spacing for c in (COLIPRI, MERLIN, ASTRA_CHEST)] == [(2, 2, 2), (1.5, 1.5, 3), None]
    assert [c.size for c in (COLIPRI, MERLIN, ASTRA_CHEST)] == [(192, 192, 192), (224, 224, 160), (224, 224, 160)]


def test_shapes_that_a_recipe_takes() -> None:
    assert (SPECTRE.varies, SPECTRE.size, SPECTRE.spacing) == (True, (128, 128, 64), None)
    assert [SPECTRE.takes(shape) for shape in ((128, 128, 64), (384, 256, 128), (128, 128, 65), (128, 128, 0), (128, 128))] == [
        True, True, False, False, False,
    ]  # fmt: skip
    assert not MERLIN.varies
    assert [MERLIN.takes(shape) for shape in ((224, 224, 160), (448, 224, 160))] == [True, False]


def _without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in config_to_mapping(MERLIN).items() if name not in names}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"axes": "RAX"}, "axes 'RAX' name no order"),
        ({"axes": 3}, "axes must be text, is 3"),
        ({"resampling": {"spacing": [1.0, 1.0], "grid": "centred"}}, "resampling.spacing must be a list of 3"),
        ({"resampling": {"spacing": [1.0, 1.0, 0.0], "grid": "centred"}}, r"resampling.spacing\[2\] must be a number above 0"),
        ({"resampling": {"spacing": [1.0, 1.0, 1.0], "grid": "corner"}}, "resampling.grid must be half-pixel or centred or first-voxel"),
        ({"resampling": {"spacing": [1.0, 1.0, 1.0]}}, "resampling.grid is missing"),
        ({"resampling": {"samples": [0, 1, 1]}}, r"resampling.samples\[0\] must be a whole number at least 1"),
        ({"resampling": {"sample": [2, 1, 1]}}, "unknown resampling.sample; known are grid"),
        ({"resampling": None, "fit": None}, "fit must say the size"),
        ({"resampling": 3}, "resampling must hold settings, is 3"),
        ({"intensity": {"hu_window": [0, 0], "interval": [0, 1]}}, "intensity: hu_window must rise"),
        ({"intensity": {"hu_window": [0, 1], "interval": [1, 0]}}, "intensity: interval must rise"),
        ({"foreground": {}}, "foreground.above is missing"),
        ({"foreground": {"above": "air"}}, "foreground.above must be a number"),
        ({"fit": None}, "fit must say the size"),
        ({"fit": {"size": [4096, 4096, 4096], "padding": 0, "odd_voxel": "after"}}, "68,719,476,736 voxels"),
        ({"fit": {"size": [4, 4, 4], "padding": "minimum", "odd_voxel": "after"}}, "fit.padding must be a number"),
        ({"fit": {"size": [4, 4, 4], "padding": 0, "odd_voxel": "both"}}, "fit.odd_voxel must be before or after"),
        ({"axis": "RAS"}, "unknown axis; known are axes, .* Did you mean axes?"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        preprocessing_from_mapping(config_to_mapping(MERLIN) | changed, source="config.json")


def test_what_is_missing_is_named() -> None:
    with pytest.raises(InputError, match="intensity is missing"):
        preprocessing_from_mapping(_without("intensity"), source="config.json")
