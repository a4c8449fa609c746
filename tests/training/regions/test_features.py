"""Volumes go through an encoder into the frame, and come back from the disk as they went in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from thoracle.ct.chest.input_box import InputBox
from thoracle.models.regions.config import ReaderConfig
from thoracle.models.regions.evidence import RegionReader
from thoracle.models.regions.model import RegionFeatures, place
from thoracle.training.engine.distributed import World
from thoracle.training.regions.features import PlacedScans, component_rows, rank_rows, reader_configs

ALONE = World(rank=0, size=1, device=torch.device("cpu"))
CONFIG = ReaderConfig(grid=(4, 3, 3), dim=5, components=5, frame=(4, 3, 3), sigma=0.4, hidden=16)
BOX = InputBox(low=(0.1, 0.0, 0.2), high=(0.9, 0.8, 1.0), encloses="lungs")


def test_places_are_read_back_by_scan(tmp_path: Path) -> None:
    torch.manual_seed(0)
    reader, cells = RegionReader(CONFIG, findings=2), torch.randn(6, 4, 3, 3, 5)
    reader.evidence.basis_DP.copy_(torch.eye(5))
    labels = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).repeat(3, 1)
    scans = PlacedScans(tmp_path / "places", CONFIG, labels, range(6))
    for first, count in ((0, 4), (4, 2)):
        scans.add(first, reader, cells[first : first + count], [BOX] * count, margin=0.15)
    expected = place(reader, CONFIG, cells, [BOX] * 6, margin=0.15)
    torch.testing.assert_close(scans.read_rows(torch.tensor([5, 0])), expected[[5, 0]], atol=2e-3, rtol=1e-3)
    np.testing.assert_allclose(scans.moments.solve(local_weight=0.95).mean_NP.numpy(), expected.mean(0).numpy(), atol=1e-5)


def test_each_grid_has_a_reader_of_its_own_size() -> None:
    generator = torch.Generator().manual_seed(0)
    tokens, cells = torch.randn(2, 2, 3, 3, 7, generator=generator), torch.randn(2, 4, 6, 6, 3, generator=generator)
    batches = [([0, 1], RegionFeatures(tokens=tokens, cells=cells, latent_BL=None))] * 2
    configs, bases = reader_configs(iter(batches), components=4, world=ALONE)
    assert [(config.grid, config.frame, config.dim, config.components) for config in configs] == [
        ((2, 3, 3), (2, 3, 3), 7, 4),
        ((4, 6, 6), (4, 6, 6), 3, 3),
    ]
    assert [tuple(basis.shape) for _, basis in bases] == [(7, 4), (3, 3)]
    alone, _ = reader_configs(iter([([0, 1], RegionFeatures(tokens=tokens, cells=None, latent_BL=None))]), components=4, world=ALONE)
    assert alone == configs[:1]


@pytest.mark.parametrize(("scans", "first", "last", "count"), [(5, 0, 4, 5), (2000, 0, 1999, 256)])
def test_components_are_of_scans_spread_over_all(scans: int, first: int, last: int, count: int) -> None:
    rows = component_rows(scans, ALONE)
    assert (rows[0], rows[-1], len(rows)) == (first, last, count)
    assert max(np.diff(rows)) <= scans // count + 1


@pytest.mark.parametrize(("scans", "ranks"), [(7, 3), (60, 2), (5, 5)])
def test_ranks_share_all_scans_and_those_of_components(scans: int, ranks: int) -> None:
    worlds = [World(rank=rank, size=ranks, device=torch.device("cpu")) for rank in range(ranks)]
    assert [row for world in worlds for row in rank_rows(scans, world)] == list(range(scans))
    assert sorted(row for world in worlds for row in component_rows(scans, world)) == component_rows(scans, ALONE)
