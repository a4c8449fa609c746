from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from thoracle.training.config import OptimiserConfig
from thoracle.training.optimiser import adamw, learning_rate


def test_the_rate_warms_up_and_falls_as_half_a_cosine() -> None:
    config = OptimiserConfig(lr=2.0, warmup=4)
    rates = [learning_rate(config, step, steps=14) for step in range(14)]
    assert rates[:5] == [0.5, 1.0, 1.5, 2.0, 2.0]
    assert rates[9] == pytest.approx(1.0)
    assert rates[13] == pytest.approx(1 + math.cos(math.pi * 0.9))
    assert learning_rate(OptimiserConfig(lr=2.0, cosine=False), 13, steps=14) == 2.0


def test_only_matrices_decay() -> None:
    parameters = [nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(()))]
    optimiser = adamw(parameters, OptimiserConfig(lr=0.1, weight_decay=0.5))
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    assert [round(parameter.max().item(), 6) for parameter in parameters] == [0.95, 1.0, 1.0]
    assert optimiser.defaults["fused"]


def test_the_text_encoder_takes_its_share_of_the_rate() -> None:
    text, image = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    optimiser = adamw([text, image], OptimiserConfig(text_share=0.25), text=[text])
    shares = {id(group["params"][0]): group["share"] for group in optimiser.param_groups}
    assert [shares[id(parameter)] for parameter in (text, image)] == [0.25, 1.0]
