"""A few phantoms, made once: of one person with each abnormality alone, and a small cohort."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from thoracle.phantom.anatomy.patient import sample_patient
from thoracle.phantom.anatomy.trees import sample_points
from thoracle.phantom.findings import FindingGenerator, GrowthSite
from thoracle.phantom.imaging import scene as module
from thoracle.phantom.imaging.canvas import Canvas
from thoracle.phantom.imaging.grid import VoxelGrid
from thoracle.phantom.imaging.scene import Scene, paint, sample_scene
from thoracle.types import ABNORMALITIES


class Painted:
    """A scene painted at 4 mm: `hu`, `mask`, and the parts of the body to compare with."""

    def __init__(self, scene: Scene, grid: VoxelGrid) -> None:
        self.scene, self.grid = scene, grid
        self.hu, self.mask = paint(scene, grid)

    def of(self, abnormality: str) -> np.ndarray:
        return (self.mask >> ABNORMALITIES.index(abnormality) & 1).astype(bool)


class HealthyChest:
    """A healthy chest at 4 mm in which findings are painted one at a time."""

    def __init__(self, seed: int) -> None:
        scene = _make_scene(seed)
        self.site = _make_site(seed)
        self.canvas = module._blank(scene, _coarse_grid(scene))
        module._paint_body(scene, self.canvas)

    def copy(self) -> Canvas:
        layers = {name: getattr(self.canvas, name).copy() for name in ("hu", "hull", "lung", "mask")}
        return Canvas(grid=self.canvas.grid, thorax=self.canvas.thorax, **layers)

    def painted(self, finding: FindingGenerator) -> tuple[Canvas, np.ndarray, np.ndarray]:
        """The chest with a finding, the finding's mask, and the change of every voxel, HU."""
        canvas = self.copy()
        finding.paint(canvas)
        mask = (canvas.mask >> ABNORMALITIES.index(finding.abnormality) & 1).astype(bool)
        return canvas, mask, canvas.hu - self.canvas.hu


def _coarse_grid(scene: Scene, spacing: float = 4.0) -> VoxelGrid:
    shape = (round(384 / spacing), round(384 / spacing), round(264 / spacing))
    origin = tuple(-spacing * (n - 1) / 2 + shift for n, shift in zip(shape, (0, 6, -12), strict=True))
    patient = scene.thorax.patient
    return VoxelGrid(shape=shape, spacing=(spacing,) * 3, origin=origin, scale=patient.scale, roll=patient.roll)


def _make_scene(seed: int, *abnormalities: str, finest: float = 4.0) -> Scene:
    return sample_scene(
        sample_patient(np.random.default_rng([seed, 0])),
        abnormalities,
        anatomy=np.random.default_rng([seed, 1]),
        visit=np.random.default_rng([seed, 2]),
        finding=lambda name: np.random.default_rng([seed, 3, ABNORMALITIES.index(name)]),
        finest=finest,
    )


def _make_site(seed: int, *, finest: float = 4.0) -> GrowthSite:
    scene = _make_scene(seed, finest=finest)
    points = sample_points(np.random.default_rng(0), scene.thorax)
    return GrowthSite(thorax=scene.thorax, points=points, trees=scene.trees, finest=finest)


@cache
def _painted(seed: int, *abnormalities: str) -> Painted:
    scene = _make_scene(seed, *abnormalities)
    return Painted(scene, _coarse_grid(scene))


@pytest.fixture(params=range(3))
def seed(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="session")
def coarse_grid() -> Callable[..., VoxelGrid]:
    return _coarse_grid


@pytest.fixture(scope="session")
def make_scene() -> Callable[..., Scene]:
    return _make_scene


@pytest.fixture(scope="session")
def painted() -> Callable[..., Painted]:
    return _painted


@pytest.fixture(scope="session")
def make_site() -> Callable[..., GrowthSite]:
    return _make_site


@pytest.fixture(scope="session")
def chest() -> HealthyChest:
    return HealthyChest(1)
