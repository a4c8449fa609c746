"""The registry has one spec a kind, under its own name."""

from __future__ import annotations

import pytest

from thoracle.models.encoder import Capability
from thoracle.models.registry import REGISTRY, listed_or


def test_kinds_are_those_that_folders_say() -> None:
    assert set(REGISTRY) == {
        "ct-clip", "colipri", "merlin", "spectre", "medfinder", "ct-clip-classifier", "ctvit", "image-text", "token-classifier", "regions",
        "text-classifier", "chat-projector",
    }  # fmt: skip
    assert all(kind == spec.kind for kind, spec in REGISTRY.items())


@pytest.mark.parametrize("kind", REGISTRY)
def test_a_spec_does_not_contradict_itself(kind: str) -> None:
    spec = REGISTRY[kind]
    can = spec.capabilities(None)
    assert (spec.key_pattern is None) == (spec.infer_config is None)
    assert bool(spec.prompts) == (Capability.ZERO_SHOT in can)
    assert Capability.ZERO_SHOT not in can or Capability.TEXT in can
    assert Capability.TEXT not in can or spec.text_rules is not None


def test_names_are_joined_as_people_join_them() -> None:
    assert [listed_or(["A"]), listed_or(["A", "B"]), listed_or(["A", "B", "C"])] == ["A", "A or B", "A, B or C"]
