"""What a classifier's settings say of its input, and which of them make no sense together."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import pytest

from thoracle.errors import InputError
from thoracle.training.finetuning.config import ClassifierConfig


@pytest.mark.parametrize(
    ("settings", "features", "at_once"),
    [
        ({}, "latents", 0),
        ({"slice_pool": "attention"}, "tokens", 0),
        ({"head": "label-attention"}, "tokens", 0),
        ({"encoder": "lora"}, "volumes", 4),
        ({"encoder": "full", "head": "label-attention"}, "volumes", 4),
    ],
)
def test_what_learns_decides_what_it_is_given(settings: dict[str, str], features: str, at_once: int) -> None:
    config = ClassifierConfig(batch_size=4, num_workers=3, **settings)
    assert (config.features, config.volumes_at_once) == (features, at_once)
    assert config.batch_workers == (3 if at_once else 0)


def test_a_run_without_a_model_is_refused(steps: ModuleType) -> None:
    with pytest.raises(InputError, match="needs a model"):
        ClassifierConfig(init_from="")
    with pytest.raises(InputError, match="not both"):
        ClassifierConfig(init_from="model", model=steps.MODEL, encoder="full")
    with pytest.raises(InputError, match="random weights learn") as frozen:
        ClassifierConfig(init_from="", model=steps.MODEL)
    assert "encoder to full" in frozen.value.hint
    with pytest.raises(InputError, match="head label-attention's"):
        ClassifierConfig(label_self_attention=True)
    with pytest.raises(InputError, match="float32"):
        ClassifierConfig(precision="bf16")
    with pytest.raises(InputError, match="no pool has met"):
        ClassifierConfig(slice_pool="attention", head="label-attention")


@pytest.mark.parametrize("change", [{"head": "label-attention"}, {"label_self_attention": True}])
def test_a_head_among_the_sizes_is_refused_for_it_would_be_passed_over(change: dict[str, object], steps: ModuleType) -> None:
    with pytest.raises(InputError, match=r"not one of the sizes.*beside `model`"):
        ClassifierConfig(init_from="", model=replace(steps.MODEL, **change), encoder="full")
