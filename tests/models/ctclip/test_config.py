"""Configurations read the published JSON, derive what follows, and refuse what contradicts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from thoracle.config_reader import config_from_mapping, config_to_mapping
from thoracle.errors import InputError
from thoracle.models.ctclip.config import PRESETS, CTCLIPConfig, CTViTConfig, published_ctclip_config


def test_preset_has_the_published_sizes() -> None:
    published = PRESETS["ct-clip"]
    assert published.ctvit.grid == 24
    assert published.ctvit.dim_image == 294_912
    assert published.n_frames // published.ctvit.temporal_patch_size == 24
    assert (published.bert.vocab_size, published.bert.num_hidden_layers, published.dim_latent) == (30522, 12, 512)


@pytest.mark.parametrize("name", ["ctclip", "ctclip2"])
def test_published_json_reads_and_comes_back(golden_dir: Path, name: str) -> None:
    config = published_ctclip_config(json.loads((golden_dir / "published" / f"{name}_config.json").read_text()))
    assert config_from_mapping(CTCLIPConfig, json.loads(json.dumps(config_to_mapping(config)))) == config


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"ctvit": {"dims": 3}}, r"unknown ctvit\.dims"),
        ({"dim_image": 5}, "dim_image is 5"),
        ({"n_frames": 241}, "n_frames 241 is not a multiple"),
        ({"ctvit": {"image_size": 481}}, "ctvit: image_size 481 is not a multiple"),
        ({"ctvit": {"dim": -1}}, r"ctvit\.dim must be a whole number at least 1, is -1"),
        ({"ctvit": {"dim": "64"}}, r"ctvit\.dim must be a whole number"),
        ({"ctvit": {"heads": True}}, r"ctvit\.heads must be a whole number"),
        ({"bert": {"layer_norm_eps": None}}, r"bert\.layer_norm_eps must be a number"),
        ({"decoupled_loss": 1}, "decoupled_loss must be true or false"),
    ],
)
def test_contradictions_are_named(values: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        published_ctclip_config(values)


def test_every_size_must_be_positive() -> None:
    with pytest.raises(InputError):
        CTViTConfig(heads=0)
