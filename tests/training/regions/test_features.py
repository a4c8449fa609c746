"""Volumes go through an encoder into the frame, and come back from the disk as they went in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from thoracle.models.regions.config import ReaderConfig
from thoracle.models.regions.model import RegionFeatures
from thoracle.training.engine.distributed import World
from thoracle.training.regions.features import PlacedScans, component_rows, rank_rows, reader_configs, scored_rows

ALONE = World(rank=0, size=1, device=torch.device("cpu"))
CONFIG = ReaderConfig(grid=(4, 3, 3), dim=5, components=5, frame=(4, 3, 3), sigma=0.4)


def test_places_are_read_back_in_order(tmp_path: Path) -> None:
    places = torch.randn(20, CONFIG.places, CONFIG.components, generator=torch.Generator().manual_seed(0))
    scans = PlacedScans(tmp_path / "places", CONFIG, scans=20)
    for part in places.split(7):
        scans.add(part)
    torch.testing.assert_close(torch.cat([*scans.batches()]), places, atol=2e-3, rtol=1e-3)


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


def test_what_is_scored_is_spread_over_all_and_has_every_finding() -> None:
    labels = torch.zeros(5000, 2)
    labels[3::7, 0] = 1
    labels[[1, 4998], 1] = 1
    rows = scored_rows(labels)
    assert {0, 1, 4998, 4999} <= rows
    assert 2048 <= len(rows) <= 2048 + 4 * 32
    assert max(np.diff(sorted(rows))) <= 3
    assert scored_rows(labels[:60]) == {*range(60)}


@pytest.mark.parametrize(("scans", "ranks"), [(7, 3), (60, 2), (5, 5)])
def test_ranks_share_all_scans_and_those_of_components(scans: int, ranks: int) -> None:
    worlds = [World(rank=rank, size=ranks, device=torch.device("cpu")) for rank in range(ranks)]
    assert [row for world in worlds for row in rank_rows(scans, world)] == list(range(scans))
    assert sorted(row for world in worlds for row in component_rows(scans, world)) == component_rows(scans, ALONE)
