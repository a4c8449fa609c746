"""Paint mimics of findings, drawn without a look at the labels and without a mask.

Calcified nodes, valves and windpipes beside calcified arteries; bone islands and spurs; fat pads beside large hearts; small nodes beside
large ones. What lies outside the body is in `external_objects.py`. Without them a histogram of Hounsfield units would know the labels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from thoracle.phantom.anatomy.patient import Rng
from thoracle.phantom.anatomy.tubes import Tubes, path
from thoracle.phantom.findings.finding import ellipsoid, lognormal_radii
from thoracle.phantom.findings.mediastinal import STATIONS
from thoracle.phantom.imaging.canvas import Canvas
from thoracle.phantom.imaging.grid import Floats, soft

Painter = Callable[[Canvas], None]


def sample_inside(rng: Rng) -> list[Painter]:
    """Sample lookalikes in the body."""
    painters: list[Painter] = []
    if rng.random() < 0.75:
        painters.append(_small_nodes(rng))
    if rng.random() < 0.3:
        painters.append(_calcified_nodes(rng))
    if rng.random() < 0.25:
        painters.append(_calcified_valve(rng))
    if rng.random() < 0.6:
        painters.append(_bone_islands(rng))
    if rng.random() < 0.45:
        painters.append(_spurs(rng))
    if rng.random() < 0.5:
        painters.append(_fat_pads(rng))
    return painters


def _small_nodes(rng: Rng) -> Painter:
    """Of normal size, in the same stations."""
    number = int(rng.integers(2, 7))
    chosen = rng.integers(0, len(STATIONS), number)
    centres = np.array([STATIONS[i][1] for i in chosen]) + rng.normal(0, 5, (number, 3))
    return partial(
        _blobs, centres=centres, shapes=[lognormal_radii(rng, rng.uniform(2, 3.8), 0.15) for _ in chosen], fills=rng.normal(40, 10, number)
    )


def _calcified_nodes(rng: Rng) -> Painter:
    """Old tuberculosis: small bright nodes at the hila and below the carina."""
    number = int(rng.integers(1, 7))
    chosen = rng.choice((0, 2, 3, 4, 5), number)
    centres = np.array([STATIONS[i][1] for i in chosen]) + rng.normal(0, 4, (number, 3))
    shapes = [lognormal_radii(rng, rng.uniform(2, 4.5), 0.2) for _ in chosen]
    return partial(_blobs, centres=centres, shapes=shapes, fills=rng.uniform(350, 1000, number))


def _calcified_valve(rng: Rng) -> Painter:
    """Lime in the aortic valve or the mitral ring: inside the heart, not in a vessel's wall."""
    centre, size = ((-4.0, -24.0, -28.0), 8.0) if rng.random() < 0.5 else ((28.0, -6.0, -50.0), 15.0)
    start, stop = np.sort(rng.uniform(0, 2 * np.pi, 2))
    turn = np.linspace(start, max(stop, start + 1), 6)
    ring = [
        (centre[0] + size * np.cos(a), centre[1] + size * 0.6 * np.sin(a), centre[2] + 0.5 * size * np.sin(a), rng.uniform(1.2, 2.6))
        for a in turn
    ]
    return partial(paint_rods, tubes=path(ring), fill=float(rng.uniform(400, 1000)))


def _bone_islands(rng: Rng) -> Painter:
    """Dense spots in vertebrae."""
    number = int(rng.integers(1, 8))
    centres = np.stack([rng.uniform(-11, 11, number), rng.uniform(56, 76, number), rng.uniform(-130, 100, number)], axis=1)
    shapes = [lognormal_radii(rng, rng.uniform(2, 6), 0.2) for _ in range(number)]
    return partial(_blobs, centres=centres, shapes=shapes, fills=rng.uniform(500, 1100, number))


def _spurs(rng: Rng) -> Painter:
    """Osteophytes: bridges in front of discs, most on the right, where no aorta beats."""
    number = int(rng.integers(2, 8))
    centres = np.stack([rng.normal(-11, 7, number), 52 + rng.normal(0, 2, number), 23.0 * rng.integers(-5, 4, number)], axis=1)
    shapes = [lognormal_radii(rng, rng.uniform(3, 5.5), 0.25) for _ in range(number)]
    return partial(_blobs, centres=centres, shapes=shapes, fills=rng.uniform(350, 900, number))


def _fat_pads(rng: Rng) -> Painter:
    """Fat in the angle of heart and diaphragm: widens the heart's shadow, not the heart."""
    centres = np.array([(-38, -56, -84), (70, -54, -88)]) + rng.normal(0, 4, (2, 3))
    return partial(_pads, centres=centres, shapes=[lognormal_radii(rng, rng.uniform(12, 30), 0.15) for _ in range(2)])


def _pads(canvas: Canvas, *, centres: Floats, shapes: list[Floats]) -> None:
    for centre, radii in zip(centres, shapes, strict=True):
        _, part = canvas.around(centre, float(radii.max()) + 5)
        fraction = soft(ellipsoid(part, centre, radii), canvas.grid.edge) * part.hull
        part.paint(fraction, canvas.thorax.patient.fat_hu)
        part.lung[...] *= 1 - fraction
        part.hull[...] *= 1 - fraction


def _blobs(canvas: Canvas, *, centres: Floats, shapes: list[Floats], fills: Floats) -> None:
    for centre, radii, fill in zip(centres, shapes, fills, strict=True):
        _, part = canvas.around(centre, float(radii.max()) + canvas.grid.edge)
        small = min(1.0, float((radii.mean() * 2 / canvas.grid.edge) ** 2))
        fraction = soft(ellipsoid(part, centre, radii), canvas.grid.edge) * np.float32(small)
        part.paint(fraction, float(fill))


def paint_rods(canvas: Canvas, *, tubes: Tubes, fill: float) -> None:
    """Paint tubes without a mask."""
    canvas.tubes(tubes, fill)
