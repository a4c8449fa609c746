"""Read the preprocessing that a file asks for."""

from __future__ import annotations

from pathlib import Path

import yaml  # type: ignore[import-untyped]

from thoracle.config_reader import parse_yaml
from thoracle.ct.preprocess import Preprocessing, preprocessing_from_mapping
from thoracle.errors import InputError


def read_preprocess(path: Path) -> Preprocessing:
    """Read a model's config.json, a training configuration, or preprocessing alone, as JSON or YAML.

    Raises:
        InputError: none of these, or settings that make no sense.
    """
    try:
        values = parse_yaml(path.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise InputError("is no JSON or YAML that can be read", hint="Give a model's config.json.", source=path) from error
    if isinstance(values, dict):
        values = values.get("preprocess", values)
    if not isinstance(values, dict):
        raise InputError("holds no preprocessing", hint="Give a model's config.json.", source=path)
    return preprocessing_from_mapping(values, source=path)
