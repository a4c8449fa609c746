from __future__ import annotations

import torch
from torch import nn

from thoracle.models.common.running_statistics import keep_statistics


def test_statistics_stay_and_the_rest_trains() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout()).train()
    keep_statistics(network)
    network(torch.randn(8, 2) + 5)
    assert network[1].running_mean.abs().max() == 0
    assert [module.training for module in network] == [True, False, True]
