from __future__ import annotations

import pytest

from tests.models.tiny_configs import CONFIGS
from thoracle.config_reader import config_to_mapping
from thoracle.errors import InputError
from thoracle.models.registry import REGISTRY


def test_a_configuration_is_read_with_that_of_its_encoder() -> None:
    config = CONFIGS["image-text"]
    assert REGISTRY["image-text"].read_config(config_to_mapping(config)) == config
    with pytest.raises(InputError, match="encoder_kind is 'ctvit'"):
        REGISTRY["image-text"].read_config(config_to_mapping(config) | {"encoder_kind": "ctvit"})
