"""Configurations read the published JSON, derive what follows, and refuse what contradicts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from thoracle.errors import InputError
from thoracle.models.ctclip_config import PRESETS, CTCLIPConfig, CTViTConfig
from thoracle.models.text_config import TextConfig


def test_preset_has_the_published_sizes() -> None:
    published = PRESETS["ct-clip"]
    assert published.ctvit.grid == 24
    assert published.ctvit.dim_image == 294_912
    assert published.n_frames // published.ctvit.temporal_patch_size == 24
    assert (published.bert.vocab_size, published.bert.num_hidden_layers, published.dim_latent) == (30522, 12, 512)


@pytest.mark.parametrize("name", ["ctclip", "ctclip2"])
def test_published_json_reads_and_comes_back(golden_dir: Path, name: str) -> None:
    config = CTCLIPConfig.from_dict(json.loads((golden_dir / "published" / f"{name}_config.json").read_text()))
    assert CTCLIPConfig.from_dict(json.loads(json.dumps(config.as_dict()))) == config


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"ctvit": {"dims": 3}}, "unknown dims"),
        ({"dim_image": 5}, "dim_image is 5"),
        ({"n_frames": 241}, "multiple"),
        ({"ctvit": {"image_size": 481}}, "multiple"),
        ({"ctvit": {"dim": -1}}, "positive"),
        ({"ctvit": {"dim": "64"}}, "of type int"),
        ({"ctvit": {"heads": True}}, "of type int"),
        ({"bert": {"layer_norm_eps": None}}, "of type float"),
        ({"decoupled_loss": 1}, "of type bool"),
    ],
)
def test_contradictions_are_named(values: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        CTCLIPConfig.from_dict(values)


def test_every_size_must_be_positive() -> None:
    with pytest.raises(InputError):
        CTViTConfig(heads=0)
    with pytest.raises(InputError):
        TextConfig(hidden_size=100, num_attention_heads=3)
