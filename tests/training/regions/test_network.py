"""The second stage learns from maps of the first where a finding is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from thoracle.models.regions.config import ReaderConfig
from thoracle.models.regions.evidence import RegionReader
from thoracle.training.engine.distributed import World
from thoracle.training.regions.moments import PlaceMoments
from thoracle.training.regions.network import soft_targets, train_network

FRAME = (3, 3, 3)
CONFIG = ReaderConfig(grid=FRAME, dim=4, components=4, frame=FRAME, sigma=0.4, hidden=32)
ALONE = World(rank=0, size=1, device=torch.device("cpu"))


def cases(scans: int = 200) -> tuple[Tensor, Tensor, Tensor]:
    """Places, labels and truth: finding 0 shows as 2 more of number 0, finding 1 of number 1, at one of three places each."""
    rng = np.random.default_rng(0)
    labels = (rng.random((scans, 2)) < 0.5).astype(np.float32)
    places = rng.normal(0, 0.5, (scans, 27, 4)).astype(np.float32)
    truth = np.zeros((scans, 2, 27), np.float32)
    for s, k in zip(*np.nonzero(labels), strict=True):
        at = rng.choice([0, 4, 8] if k == 0 else [18, 22, 26])
        places[s, at, k] += 2
        truth[s, k, at] = 1
    return torch.from_numpy(places), torch.from_numpy(labels), torch.from_numpy(truth)


@pytest.fixture
def reader() -> RegionReader:
    """With its evidence fitted."""
    torch.manual_seed(0)
    places, labels, _ = cases()
    moments = PlaceMoments(labels, places=27, numbers=4)
    moments.add(slice(0, len(labels)), places)
    solved, reader = moments.solve(local_weight=0.95), RegionReader(CONFIG, findings=2)
    reader.evidence.mean_NP.copy_(solved.mean_NP)
    reader.evidence.weights_KNP.copy_(solved.weights_KNP)
    reader.evidence.prior_KN.copy_(solved.prior_KN)
    return reader


def test_targets_are_maps_by_their_maximum_where_the_finding_is_and_zero_elsewhere(reader: RegionReader) -> None:
    places, labels, _ = cases()
    targets, maps = soft_targets(reader, places, labels), reader.evidence(places)
    for s in range(10):
        for k in range(2):
            if labels[s, k]:
                torch.testing.assert_close(targets[s, k], maps[s, k] / maps[s, k].max())
            else:
                assert not targets[s, k].any()


def test_it_tells_who_has_a_finding_and_where(reader: RegionReader) -> None:
    places, labels, truth = cases()
    train_network(reader, lambda rows: places[rows], labels, rows=range(len(places)), seed=0, world=ALONE)
    with torch.no_grad():
        logits, maps = reader.logits(places), reader.maps(places)
    for k in range(2):
        has, lacks = labels[:, k] == 1, labels[:, k] == 0
        strongest = logits[:, k].amax(dim=-1)
        assert (strongest[has][:, None] > strongest[lacks]).float().mean() > 0.9
        pointed = truth[has, k].gather(1, maps[has, k].argmax(dim=-1, keepdim=True))
        assert pointed.mean() > 0.9


def test_a_seed_gives_the_same_weights_and_another_others(reader: RegionReader) -> None:
    places, labels, _ = cases(64)
    start = {name: tensor.clone() for name, tensor in reader.network.state_dict().items()}
    ends = []
    for seed in (1, 1, 2):
        reader.network.load_state_dict(start)
        train_network(reader, lambda rows: places[rows], labels, rows=range(64), seed=seed, epochs=2, world=ALONE)
        ends.append(reader.network.out.weight.detach().clone())
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])
