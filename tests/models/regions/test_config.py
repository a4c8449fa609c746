"""A reader of nothing is refused, and a configuration is read back from the folder's JSON."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
import torch

from thoracle.errors import InputError
from thoracle.models.ctclip.config import PRESETS
from thoracle.models.regions.config import ReaderConfig, RegionsConfig, grid_of
from thoracle.models.registry import REGISTRY

READER = {"grid": (6, 6, 6), "dim": 32, "components": 4, "frame": (6, 6, 6), "sigma": 0.4}


@pytest.mark.parametrize("field", ["dim", "components", "sigma"])
def test_a_reader_of_nothing_is_refused(field: str) -> None:
    with pytest.raises(InputError, match=field):
        ReaderConfig(**{**READER, field: 0})  # type: ignore[arg-type]


def test_places_are_those_of_the_frame() -> None:
    assert ReaderConfig(**{**READER, "frame": (2, 3, 5)}).places == 30  # type: ignore[arg-type]
    assert grid_of(torch.zeros(1, 2, 3, 4, 5)) == (2, 3, 4)


def test_a_configuration_is_read_back_with_its_encoders() -> None:
    config = RegionsConfig(
        labels=("Emphysema",),
        margin=0.15,
        tokens=ReaderConfig(**READER),  # type: ignore[arg-type]
        cells=None,
        before_attention=True,
        encoder_kind="ct-clip",
        encoder=PRESETS["tiny"],
    )
    values = json.loads(json.dumps(asdict(config)))
    assert REGISTRY["regions"].read_config(values) == config
    del values["average_prompts"]  # as folders of earlier commits
    assert REGISTRY["regions"].read_config(values) == config
    with pytest.raises(InputError, match=r"encoder_kind is 'text-classifier', which is none of ct-clip, colipri"):
        REGISTRY["regions"].read_config({**values, "encoder_kind": "text-classifier"})
