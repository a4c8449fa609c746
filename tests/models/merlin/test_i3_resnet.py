"""The Merlin family's image network: the published vectors of each stage, and batch norms folded or not."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from thoracle.models.merlin.i3_resnet import BatchNorm, Bottleneck
from thoracle.models.merlin.model import Merlin


@torch.no_grad()
def test_published_stages(tiny: Merlin, expected: dict[str, Tensor], error: Callable) -> None:
    x = tiny.stem(expected["input"].permute(0, 1, 4, 2, 3))
    assert error(x, expected["stem"]) < 1e-5
    x = F.max_pool3d(x, 3, stride=2, padding=1)
    assert error(x, expected["maxpool"]) < 1e-5
    for stage in ("layer1", "layer2", "layer3", "layer4"):
        for block in getattr(tiny, stage):
            x = block(x)
        assert error(x, expected[stage]) < 1e-5, stage


@torch.no_grad()
def test_a_folded_norm_gives_what_the_norm_does(error: Callable) -> None:
    torch.manual_seed(0)
    conv, norm = torch.nn.Conv3d(3, 5, 3, bias=False), BatchNorm(5)
    for tensor in norm.state_dict().values():
        tensor.copy_(torch.rand(5) + 0.5)
    x = torch.randn(2, 3, 6, 7, 8)
    theirs = torch.nn.BatchNorm3d(5).eval()
    theirs.load_state_dict(norm.state_dict() | {"num_batches_tracked": torch.tensor(0)})
    assert error(norm.eval()(conv(x)), theirs(conv(x))) < 1e-6
    assert error(F.conv3d(x, *norm.fold_into(conv)), theirs(conv(x))) < 1e-6


def test_training_uses_the_batch_and_moves_the_running_statistics(error: Callable) -> None:
    torch.manual_seed(0)
    norm, theirs, x = BatchNorm(4), torch.nn.BatchNorm3d(4), torch.randn(3, 4, 2, 5, 6) * 3 + 1
    assert error(norm(x), theirs(x).detach()) < 1e-6
    assert error(norm.running_mean, theirs.running_mean) < 1e-6
    assert error(norm.running_var, theirs.running_var) < 1e-6


def test_a_step_of_training_reaches_every_weight() -> None:
    torch.manual_seed(0)
    block = Bottleneck(4, 3, stride=2, projects=True)
    block(torch.randn(2, 4, 6, 6, 6)).sum().backward()
    assert all(parameter.grad is not None and bool(parameter.grad.isfinite().all()) for parameter in block.parameters())
