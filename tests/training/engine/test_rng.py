"""States of generators: the same draws again, and no generator beside torch's is drawn from."""

from __future__ import annotations

import random
from dataclasses import replace
from types import ModuleType

import numpy as np
import torch
import torch.nn.functional as F

from thoracle.cohort.samples.augment import Augmentation
from thoracle.training.engine.distributed import World
from thoracle.training.engine.rng import get_rng_state, set_rng_state

CPU = torch.device("cpu")


def _draws() -> list[torch.Tensor]:
    return [torch.rand(5), torch.randn(3), torch.randperm(7), F.dropout(torch.ones(20), 0.5)]


def test_a_restored_state_gives_the_same_draws() -> None:
    torch.manual_seed(3)
    torch.rand(2)
    states = get_rng_state(CPU)
    first, second = _draws(), _draws()
    assert not torch.equal(first[0], second[0])
    set_rng_state(states, CPU)
    assert all(torch.equal(again, draw) for again, draw in zip([*_draws(), *_draws()], [*first, *second], strict=True))


def test_a_state_stays_as_it_was_while_others_draw() -> None:
    states = get_rng_state(CPU)
    copies = [state.clone() for state in states]
    _draws()
    assert all(torch.equal(state, copy) for state, copy in zip(states, copies, strict=True))
    assert not torch.equal(get_rng_state(CPU)[0], states[0])


def test_a_step_draws_from_torch_alone(steps: ModuleType) -> None:
    """Dropout and changed views: what numpy and `random` would draw next is not in a checkpoint, so no step may ask them."""
    text = replace(steps.MODEL.bert, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)
    strong = Augmentation(probability=1.0, rotation=0.3, zoom=0.2, shift=0.1, noise=0.3)
    config = replace(steps.FINDER, model=replace(steps.FINDER.model, bert=text), augmentation=strong, batch_size=2)
    task = steps.task(config, World(rank=0, size=1, device=CPU))
    before = random.getstate(), np.random.get_state(legacy=False)["state"], torch.get_rng_state()
    task.accumulate_gradients([steps.batch(pairs=2)])
    assert random.getstate() == before[0]
    np.testing.assert_equal(np.random.get_state(legacy=False)["state"], before[1])
    assert not torch.equal(torch.get_rng_state(), before[2])
