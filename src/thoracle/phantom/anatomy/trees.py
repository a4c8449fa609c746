"""Airways and vessels of the lungs: trees that fill each lobe, grown anew for every person.

Each lobe is a cloud of points. A branch heads for the middle of its cloud, the cloud is cut in two across its longest side, and each half
gets a branch (volume splitting, as in Kitaoka et al., J Appl Physiol 1999). All lobes grow at once, a generation at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from thoracle.phantom.anatomy.patient import Rng
from thoracle.phantom.anatomy.thorax import APEX, LOBES, Thorax
from thoracle.phantom.anatomy.tubes import Tubes
from thoracle.phantom.imaging.grid import Floats

_GENERATIONS = 6
#: Where the branches of each lobe begin.
_GATES = np.array([(-40, 6, 10), (-40, -2, -30), (-38, 16, -34), (42, 2, 2), (39, 18, -34)], dtype=np.float32)
_TRUNKS = np.array([(-30, 6, -12), (-34, 6, -20), (-34, 8, -20), (32, 10, -14), (32, 12, -18)], dtype=np.float32)
_MURRAY = np.float32(2 ** (-1 / 3))


@dataclass(frozen=True, kw_only=True, eq=False)
class LungPoints:
    """Hold random points inside the lungs. `points`: (n, 3); `lobe`: (n,) index into `LOBES`; `depth`: (n,) mm below the pleura."""

    points: Floats
    lobe: NDArray[np.int64]
    depth: Floats

    def pick(self, rng: Rng, *, lobes: tuple[int, ...] | None = None, depth: tuple[float, float] = (4, 200)) -> Floats:
        """Pick one point (3,) in some lobes at some depth; the nearest one where there is none."""
        fits = (self.depth >= depth[0]) & (self.depth <= depth[1])
        if lobes is not None:
            fits &= np.isin(self.lobe, lobes)
        choice = np.flatnonzero(fits)
        if not len(choice):
            inside = self.depth if lobes is None else np.where(np.isin(self.lobe, lobes), self.depth, -np.inf)
            choice = np.array([int(np.argmin(np.abs(inside - sum(depth) / 2)))])
        return np.asarray(self.points[rng.choice(choice)])

    def in_lobe(self, lobe: int) -> Floats:
        """Return the points (m, 3) of one lobe."""
        return np.asarray(self.points[self.lobe == lobe])


def sample_points(rng: Rng, thorax: Thorax, *, tries: int = 9000) -> LungPoints:
    """Sample points evenly over the volume of both lungs."""
    low, high = np.array([-124, -80, -150]), np.array([124, 98, APEX])
    points = (low + (high - low) * rng.random((tries, 3))).astype(np.float32)
    depth = -thorax.lung(points[:, 0], points[:, 1], points[:, 2])
    inside = depth > 1.5
    points = points[inside]
    return LungPoints(points=points, depth=depth[inside], lobe=thorax.lobe_index(points[:, 0], points[:, 1], points[:, 2]))


@dataclass(frozen=True, kw_only=True, eq=False)
class Branches:
    """Hold one kind of tree in both lungs; `lobe` and `generation` (n,) go with the pieces of `tubes`."""

    tubes: Tubes
    lobe: NDArray[np.int64]
    generation: NDArray[np.int64]

    def chosen(self, which: NDArray[np.bool_]) -> Branches:
        """Return some of the pieces."""
        return Branches(tubes=self.tubes.chosen(which), lobe=self.lobe[which], generation=self.generation[which])


@dataclass(frozen=True, kw_only=True, eq=False)
class Trees:
    """Hold the arteries, veins and airways of a person's lungs; radii of airways are those of the lumen."""

    arteries: Branches
    veins: Branches
    airways: Branches

    @cached_property
    def vessels(self) -> Tubes:
        """Return the arteries and veins."""
        both = (self.arteries.tubes, self.veins.tubes)
        return Tubes(**{name: np.concatenate([getattr(t, name) for t in both]) for name in ("start", "end", "first", "last")})


def grow(rng: Rng, points: LungPoints) -> Trees:
    """Grow arteries beside airways, veins between them."""
    clouds = np.stack([_cloud(rng, points.in_lobe(lobe)) for lobe in range(len(LOBES))])
    clouds_of_lobes = np.stack([_cloud(rng, points.in_lobe(lobe)) for lobe in range(len(LOBES))])
    calibre = float(np.clip(rng.normal(1.0, 0.16), 0.65, 1.5))
    airways = _split(clouds, rng, radius=3.6 * calibre, wander=2.0)
    beside = np.array([3.5, 3.0, 2.0], dtype=np.float32)
    tubes = airways.tubes
    arteries = Branches(
        tubes=Tubes(start=tubes.start + beside, end=tubes.end + beside, first=tubes.first * 1.45, last=tubes.last * 1.45),
        lobe=airways.lobe,
        generation=airways.generation,
    )
    return Trees(arteries=arteries, veins=_split(clouds_of_lobes, rng, radius=4.6 * calibre, wander=3.0), airways=airways)


def _cloud(rng: Rng, points: Floats) -> Floats:
    """As many points as the last generation has branches."""
    return np.asarray(points[rng.integers(0, len(points), 2**_GENERATIONS)])


def _split(clouds: Floats, rng: Rng, *, radius: float, wander: float) -> Branches:
    lobes = np.arange(len(clouds))
    start, end = _TRUNKS, _GATES + rng.normal(0, wander, _GATES.shape).astype(np.float32)
    size = np.full(len(lobes), radius, dtype=np.float32)
    parts = [(start, end, size, size * np.float32(0.95), lobes, np.zeros_like(lobes))]
    for generation in range(1, _GENERATIONS + 1):
        clouds, lobes = _halves(clouds), np.repeat(lobes, 2)
        start = np.repeat(end, 2, axis=0)
        size = np.repeat(size * _MURRAY, 2) * rng.uniform(0.86, 1.06, len(lobes)).astype(np.float32)
        reach = rng.uniform(0.45, 0.65, (len(lobes), 1)).astype(np.float32)
        end = start + (clouds.mean(axis=1) - start) * (reach if generation < _GENERATIONS else np.float32(0.95))
        parts.append((start, end, size, size * np.float32(0.9), lobes, np.full_like(lobes, generation)))
    a, b, first, last, lobe, order = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Branches(tubes=Tubes(start=a, end=b, first=first, last=last), lobe=lobe, generation=order)


def _halves(clouds: Floats) -> Floats:
    """Each cloud (g, n, 3) cut in two across its longest side: (2 g, n / 2, 3)."""
    groups, count, _ = clouds.shape
    longest = np.argmax(np.ptp(clouds, axis=1), axis=1)
    along = np.take_along_axis(clouds, longest[:, None, None], axis=2)[:, :, 0]
    order = np.argsort(along, axis=1, kind="stable")
    return np.take_along_axis(clouds, order[:, :, None], axis=1).reshape(2 * groups, count // 2, 3)
