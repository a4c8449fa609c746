"""Lime in arteries: the wall of the aorta and the coronary arteries."""

from __future__ import annotations

from functools import partial
from typing import Final

import numpy as np

from thoracle.phantom.anatomy.patient import Rng
from thoracle.phantom.anatomy.soft_tissue import AORTA
from thoracle.phantom.anatomy.thorax import Thorax
from thoracle.phantom.anatomy.tubes import deposit
from thoracle.phantom.findings.finding import FindingGenerator, GrowthSite, at, severity_of
from thoracle.phantom.imaging.canvas import Canvas
from thoracle.phantom.imaging.grid import Floats

#: Courses of the left anterior descending, circumflex and right coronary artery, near the heart's surface.
_CORONARIES: Final = {
    "LAD": ((12, -44, -16), (22, -62, -36), (40, -66, -62), (54, -60, -84)),
    "LCx": ((12, -44, -16), (40, -22, -18), (62, -4, -40), (58, 6, -66)),
    "RCA": ((-16, -40, -22), (-34, -34, -42), (-36, -14, -66), (-14, 6, -84)),
}


def sample_arterial(rng: Rng, site: GrowthSite) -> FindingGenerator:
    """Sample plaques on the wall of arch and descending aorta, fewer on the ascending."""
    extent = rng.random()
    number = int(4 + 14 * extent + rng.integers(0, 3))
    weights = np.array([0.3, 0.3, 0.6, 1.6, 2, 2, 1.6, 1.5, 1.2, 0.6])
    piece = rng.choice(len(AORTA), number, p=weights / weights.sum())
    t, turn = rng.random(number), rng.uniform(0, 2 * np.pi, number)
    axis = AORTA.end[piece] - AORTA.start[piece]
    middle = AORTA.start[piece] + axis * t[:, None]
    radius = AORTA.first[piece] * (1 - t) + AORTA.last[piece] * t
    points, volumes = _plaques(rng, middle, axis, radius, turn, size=max(2.2, 0.8 * site.finest))
    return FindingGenerator(
        abnormality="Arterial wall calcification",
        severity=severity_of(extent),
        number=number,
        centre=at(middle[0]),
        painter=partial(_paint_lime, points=points, volumes=volumes, fill=float(rng.uniform(420, 950)), name="Arterial wall calcification"),
    )


def _plaques(rng: Rng, middle: Floats, axis: Floats, radius: Floats, turn: Floats, *, size: float) -> tuple[Floats, Floats]:
    """Points on patches of the wall: each `size` thick, up to 80 degrees wide."""
    along = axis / np.linalg.norm(axis, axis=1, keepdims=True)
    helper = np.where(np.abs(along[:, 2:]) < 0.9, np.array([[0, 0, 1.0]]), np.array([[1.0, 0, 0]]))
    u = np.cross(along, helper)
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    v = np.cross(along, u)
    per_vessel = 120
    angle = turn[:, None] + rng.uniform(-0.5, 0.5, (len(middle), per_vessel)) * rng.uniform(0.35, 1.3, (len(middle), 1))
    shift = rng.uniform(-0.5, 0.5, (len(middle), per_vessel)) * rng.uniform(5, 15, (len(middle), 1))
    rho = radius[:, None] - size / 2 + size * rng.random((len(middle), per_vessel))
    points = middle[:, None] + shift[..., None] * along[:, None]
    points += rho[..., None] * (np.cos(angle)[..., None] * u[:, None] + np.sin(angle)[..., None] * v[:, None])
    arc, length = np.ptp(angle, axis=1) * radius, np.ptp(shift, axis=1)
    volume = np.repeat(1.15 * arc * length * size / per_vessel, per_vessel)
    return points.reshape(-1, 3).astype(np.float32), volume.astype(np.float32)


def sample_coronary(rng: Rng, site: GrowthSite) -> FindingGenerator:
    """Sample short runs along one to three coronary arteries."""
    extent = rng.random()
    arteries = list(rng.permutation(list(_CORONARIES))[: 1 + int(extent * 2.99)])
    if "LAD" not in arteries and rng.random() < 0.6:
        arteries[0] = "LAD"
    runs = [_run(rng, site, str(name)) for name in arteries for _ in range(int(rng.integers(2, 4)))]
    points = np.concatenate([run for run, _ in runs])
    volumes = np.concatenate([volume for _, volume in runs])
    return FindingGenerator(
        abnormality="Coronary artery wall calcification",
        severity=severity_of(extent),
        number=len(runs),
        kind=", ".join(sorted(set(map(str, arteries)))),
        centre=at(points[0]),
        painter=partial(
            _paint_lime, points=points, volumes=volumes, fill=float(rng.uniform(420, 950)), name="Coronary artery wall calcification"
        ),
    )


def _run(rng: Rng, site: GrowthSite, artery: str) -> tuple[Floats, Floats]:
    """Points in a piece of an artery that lies on the heart of this person."""
    stations = on_heart(site.thorax, np.array(_CORONARIES[artery], dtype=np.float32))
    start, length = rng.uniform(0, 0.7), rng.uniform(0.16, 0.4)
    per_vessel = 90
    t = (start + length * rng.random(per_vessel)) * (len(stations) - 1)
    at_ = np.clip(t.astype(int), 0, len(stations) - 2)
    middle = stations[at_] + (stations[at_ + 1] - stations[at_]) * (t - at_)[:, None]
    radius = max(1.3, 0.55 * site.finest)
    points = on_heart(site.thorax, middle) + rng.normal(0, radius / 2, (per_vessel, 3))
    long = length * float(np.linalg.norm(np.diff(stations, axis=0), axis=1).sum())
    return points.astype(np.float32), np.full(per_vessel, np.pi * radius**2 * long / per_vessel, dtype=np.float32)


def on_heart(thorax: Thorax, points: Floats, *, above: float = 1.0) -> Floats:
    """Move points (n, 3) along the rays from the heart's middle until they lie `above` mm over its surface."""
    centre = np.array([14.0, -20.0, -50.0], dtype=np.float32)
    rays = points - centre
    stretch = np.ones(len(points), dtype=np.float32)
    for _ in range(6):
        moved = centre + rays * stretch[:, None]
        distance = thorax.heart_surface(moved[:, 0], moved[:, 1], moved[:, 2]) - above
        stretch -= np.float32(0.8) * distance / np.linalg.norm(rays, axis=1)
    return (centre + rays * stretch[:, None]).astype(np.float32)


def _paint_lime(canvas: Canvas, *, points: Floats, volumes: Floats, fill: float, name: str) -> None:
    box, fraction = deposit(canvas.grid, points, volumes)
    if fraction.size:
        canvas.paint(fraction, fill, box)
        canvas.mark(name, fraction, box, above=0.12)
