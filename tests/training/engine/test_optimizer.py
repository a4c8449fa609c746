"""AdamW's groups: what decays, and at which multiple of the scheduled rate."""

from __future__ import annotations

import torch
from torch import nn

from thoracle.training.engine.config import OptimizerConfig
from thoracle.training.engine.optimizer import LossScale, build_adamw


def test_only_matrices_decay() -> None:
    parameters = [nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(()))]
    optimizer = build_adamw(parameters, OptimizerConfig(lr=0.1, weight_decay=0.5))
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert [round(parameter.max().item(), 6) for parameter in parameters] == [0.95, 1.0, 1.0]
    assert optimizer.defaults["fused"]


def test_the_text_encoder_trains_at_its_own_multiple_of_the_rate() -> None:
    text, image = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    optimizer = build_adamw([text, image], OptimizerConfig(text_lr_scale=0.25), text=[text])
    scales = {id(group["params"][0]): group["lr_scale"] for group in optimizer.param_groups}
    assert [scales[id(parameter)] for parameter in (text, image)] == [0.25, 1.0]


def test_the_scale_of_a_loss_moves_as_torchs() -> None:
    """Two overflows, 2,000 steps that grow it, an overflow within the next 2,000, and growth again."""
    weight = nn.Parameter(torch.zeros(()))
    optimizer, reference = torch.optim.SGD([weight], lr=0.0), torch.amp.GradScaler("cpu")
    scale, overflows = LossScale(moves=True), {0, 1, 2500}
    for step in range(4600):
        weight.grad = reference.scale(torch.tensor(torch.inf if step in overflows else 1.0))
        reference.step(optimizer)
        reference.update()
        scale.update(finite=step not in overflows)
        assert scale.value == reference.get_scale()
    assert (scale.value, scale.skipped) == (2.0**15, 3)


def test_other_precisions_are_not_scaled() -> None:
    scale = LossScale(moves=False)
    scale.update(finite=False)
    assert (scale.value, scale.skipped, scale.may_fall) == (1.0, 0, False)
