from __future__ import annotations

import pytest

from thoracle.errors import CheckpointIncomplete, InputError
from thoracle.models.common.size_inference import depth_of, section_of, settle, size_of, square_root


def test_tensors_come_before_the_user_and_the_user_before_assumptions() -> None:
    notes: list[str] = []
    settings = settle("ctvit", {"dim": 8}, {"heads": 4, "eps": 1}, {"dim": 8, "eps": 2}, notes)
    assert settings == {"dim": 8, "heads": 4, "eps": 2}
    assert notes == ["ctvit.heads is 4"]
    with pytest.raises(InputError, match=r"ctvit\.dim is 9, the tensors say 8"):
        settle("ctvit", {"dim": 8}, {}, {"dim": 9}, [])
    with pytest.raises(InputError, match="not a mapping"):
        section_of([], "bert")


def test_sizes_are_read_off_names_and_shapes() -> None:
    shapes = {"a.weight": (3, 4), "layers.0.x": (1,), "layers.1.x": (1,), "layers.10.y": (1,), "empty": ()}
    assert size_of(shapes, "a.weight", 1) == 4
    assert depth_of(shapes, "layers.") == 3
    for name, axis in (("b.weight", 0), ("empty", 0), ("a.weight", 2)):
        with pytest.raises(CheckpointIncomplete):
            size_of(shapes, name, axis)


def test_a_square_has_a_side() -> None:
    notes: list[str] = []
    assert square_root(400, "patch_size", {}, notes, "patches are square") == 20
    assert notes == ["patches are square: 20 x 20"]
    with pytest.raises(CheckpointIncomplete, match="401 is not a square"):
        square_root(401, "patch_size", {}, [], "")
