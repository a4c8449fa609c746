"""Infer settings from the shapes of published tensors; what shapes do not tell comes from the user or is assumed aloud."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isqrt
from typing import Any

from thoracle.errors import CheckpointIncomplete, InputError
from thoracle.models.common.shapes import Shapes
from thoracle.models.common.tensor_names import summarize_names

Values = dict[str, Any]


def settle(section: str, read: Values, assumed: Values, settings: Mapping[str, Any], notes: list[str]) -> Values:
    """Merge settings: tensors and the user must agree; where tensors are silent the user decides, else the assumption is noted.

    Raises:
        InputError: the user contradicts the tensors.
    """
    for name, value in read.items():
        if name in settings and settings[name] != value:
            raise InputError(
                f"--config says {section}.{name} is {settings[name]!r}"[:120] + f", the tensors say {value}",
                hint="Correct --config, or give the file it belongs to.",
            )
    silent = {name: value for name, value in assumed.items() if name not in settings}
    notes += [f"{section}.{name} is {value}" for name, value in silent.items()]
    return {**silent, **settings, **read}


def section_of(settings: object, name: str) -> Values:
    """Return a section of the user's settings; raises InputError where it is not a mapping."""
    if not isinstance(settings, Mapping):
        raise InputError(f"--config says {name} is {settings!r}"[:120] + ", not a mapping", hint="Correct --config.")
    return dict(settings)


def square_root(area: int, name: str, settings: Mapping[str, Any], notes: list[str], sentence: str) -> int:
    """Return the side of a square area; raises CheckpointIncomplete for any other."""
    side = isqrt(area)
    if side * side != area:
        raise CheckpointIncomplete(f"ctvit.{name} does not follow: {area} is not a square", hint="Only square patches and grids are built.")
    if name not in settings:
        notes.append(f"{sentence}: {side} x {side}")
    return side


def size_of(shapes: Shapes, name: str, axis: int) -> int:
    """Return one axis of a tensor's shape; raises CheckpointIncomplete where it is missing."""
    if name not in shapes:
        raise CheckpointIncomplete(f"missing {summarize_names([name], near=shapes)}", hint="Give the whole state dict.")
    shape = shapes[name]
    if len(shape) <= axis or shape[axis] < 1:
        raise CheckpointIncomplete(f"{name} has shape {shape}, which gives no size", hint="Give an unchanged published file.")
    return shape[axis]


def depth_of(shapes: Shapes, prefix: str) -> int:
    """Count layers by their distinct numbers; a gap among them shows when names are compared."""
    pattern = re.compile(re.escape(prefix) + r"(\d{1,6})\.")
    return len({match[1] for name in shapes if (match := pattern.match(name))})
