from __future__ import annotations

from dataclasses import replace

import pytest

from tests.models.tiny_configs import CONFIGS
from thoracle.config_reader import config_to_mapping
from thoracle.errors import InputError
from thoracle.models.registry import REGISTRY


def test_a_configuration_is_read_with_that_of_its_encoder() -> None:
    config = CONFIGS["token-classifier"]
    read = REGISTRY["token-classifier"].read_config
    assert read(config_to_mapping(config)) == config
    for changes, words in (
        ({"encoder_kind": "regions"}, "encoder_kind is 'regions'"),
        ({"head": "mlp"}, "head must be linear or attention"),
    ):
        with pytest.raises(InputError, match=words):
            read(config_to_mapping(config) | changes)
    with pytest.raises(InputError, match="has labels"):
        replace(config, labels=())
