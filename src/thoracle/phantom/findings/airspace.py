"""Air spaces filled or collapsed: lung opacity, consolidation, atelectasis and nodules."""

from __future__ import annotations

from functools import partial

import numpy as np

from thoracle.phantom.anatomy.patient import Rng
from thoracle.phantom.anatomy.thorax import LOBES
from thoracle.phantom.findings.finding import FindingGenerator, GrowthSite, at, ellipsoid, lobes_of, lognormal_radii, severity_of, side_of
from thoracle.phantom.imaging.canvas import Canvas
from thoracle.phantom.imaging.grid import Field, Floats, smoothstep, soft


def sample_nodule(rng: Rng, site: GrowthSite) -> FindingGenerator:
    """Sample one to six round, solid nodules."""
    number = int(min(6, rng.geometric(0.42)))
    low = max(4.5, 5.5 * site.finest) / 2
    # More than 30 mm across is a mass.
    radii = np.sort((low + rng.gamma(1.6, 2.2, number)).clip(0, 15))[::-1]
    centres = np.stack([site.points.pick(rng, depth=(0.9 * r + 1, 45)) for r in radii])
    shapes = [lognormal_radii(rng, r, 0.08) for r in radii]
    lobes = lobes_of(site.thorax, centres)
    fills = rng.normal(25, 25, number) + np.where(rng.random(number) < 0.12, 260, 0)
    return FindingGenerator(
        abnormality="Lung nodule",
        severity=severity_of((radii[0] - low) / min(7.0, 15 - low)),
        side=side_of(lobes),
        lobes=lobes,
        size_mm=round(site.millimetres(2 * float(shapes[0].max())), 1),
        number=number,
        centre=at(centres[0]),
        parts=centres,
        painter=partial(_paint_nodules, centres=centres, shapes=shapes, fills=fills, rough=Field.sample(rng, 10)),
    )


def _paint_nodules(canvas: Canvas, *, centres: Floats, shapes: list[Floats], fills: Floats, rough: Field) -> None:
    for centre, radii, fill in zip(centres, shapes, fills, strict=True):
        box, part = canvas.around(centre, float(radii.max()) + 2 * canvas.grid.edge)
        fraction = soft(ellipsoid(part, centre, radii, rough=rough, amount=0.9), canvas.grid.edge) * (part.hull > 0.3)
        part.paint(fraction, float(fill))
        canvas.mark("Lung nodule", fraction, box, above=0.3)


def sample_opacity(rng: Rng, site: GrowthSite) -> FindingGenerator:
    """Sample ground glass: hazy patches through which vessels are seen."""
    number = int(rng.integers(2, 8))
    extent = rng.random()
    within = None if rng.random() < 0.65 else tuple(int(i) for i in rng.choice(5, 2, replace=False))
    centres = np.stack([site.points.pick(rng, lobes=within, depth=(6, 32)) for _ in range(number)])
    lobes = lobes_of(site.thorax, centres)
    shapes = [lognormal_radii(rng, 15 + 15 * extent + 4 * rng.random(), 0.25) for _ in range(number)]
    density = float(rng.uniform(170, 330))
    return FindingGenerator(
        abnormality="Lung opacity",
        severity=severity_of((extent + number / 7) / 2),
        side=side_of(lobes),
        lobes=lobes,
        number=number,
        size_mm=round(site.millimetres(2 * float(max(s.max() for s in shapes))), 0),
        centre=at(centres[0]),
        parts=centres,
        painter=partial(_paint_opacity, centres=centres, shapes=shapes, density=density, rough=Field.sample(rng, 11)),
    )


def _paint_opacity(canvas: Canvas, *, centres: Floats, shapes: list[Floats], density: float, rough: Field) -> None:
    for centre, radii in zip(centres, shapes, strict=True):
        box, part = canvas.around(centre, 1.15 * float(radii.max()) + 6)
        fraction = soft(ellipsoid(part, centre, radii, rough=rough, amount=5), 9) * part.lung
        view = part.hu
        view += fraction * np.clip(-120 - view, 0, density) * np.float32(0.95)
        canvas.mark("Lung opacity", fraction, box)


def sample_consolidation(rng: Rng, site: GrowthSite) -> FindingGenerator:
    """Sample dense filling of part of a lobe, against the pleura, with open airways."""
    lobe = int(rng.choice(5, p=(0.17, 0.13, 0.3, 0.15, 0.25)))
    extent = rng.random()
    number = 1 if rng.random() < 0.6 else 2
    centres = np.stack([site.points.pick(rng, lobes=(lobe,), depth=(6, 22)) for _ in range(number)])
    shapes = [lognormal_radii(rng, max(19.0, 6 * site.finest) + 17 * extent, 0.2) for _ in range(number)]
    fill = float(rng.normal(28, 14))
    return FindingGenerator(
        abnormality="Consolidation",
        severity=severity_of(extent),
        side=side_of([LOBES[lobe]]),
        lobes=(LOBES[lobe],),
        number=number,
        size_mm=round(site.millimetres(2 * float(shapes[0].max())), 0),
        centre=at(centres[0]),
        parts=centres,
        painter=partial(_paint_consolidation, centres=centres, shapes=shapes, fill=fill, rough=Field.sample(rng, 10)),
    )


def _paint_consolidation(canvas: Canvas, *, centres: Floats, shapes: list[Floats], fill: float, rough: Field) -> None:
    for centre, radii in zip(centres, shapes, strict=True):
        box, part = canvas.around(centre, 1.1 * float(radii.max()) + 6)
        patchy = rough.on(part.grid)
        distance = ellipsoid(part, centre, radii) + 4 * patchy
        fraction = soft(distance, 1.6 * canvas.grid.edge) * part.lung
        part.paint(fraction, fill - 60 * np.clip(patchy, 0, 1.5))
        canvas.mark("Consolidation", fraction, box)


def sample_atelectasis(rng: Rng, site: GrowthSite) -> FindingGenerator:
    """Sample plates across the lower lung, or a collapsed wedge behind, which is of the lower lobes."""
    extent = rng.random()
    both = rng.random() < 0.5
    lobes = [2, 4] if both else [int(rng.choice((1, 2, 3, 4), p=(0.15, 0.35, 0.15, 0.35)))]
    plates = rng.random() < 0.6
    if not plates:
        lobes = [2 if lobe < 3 else 4 for lobe in lobes]
    names = tuple(LOBES[lobe] for lobe in lobes)
    number = int(rng.integers(2, 5)) if plates else len(lobes)
    picks = [site.points.pick(rng, lobes=(lobes[i % len(lobes)],), depth=(5, 24)) for i in range(number)]
    centres = np.stack(picks)
    tilts = rng.normal(0, 0.35, (number, 2)).astype(np.float32)
    thickness = max(3.0, 1.6 * site.finest) * (0.9 + 0.7 * extent)
    painter = partial(_paint_plates, centres=centres, tilts=tilts, half=thickness / 2, reach=26 + 18 * extent)
    if not plates:
        painter = partial(
            _paint_collapse, sides=tuple(-1 if lobe < 3 else 1 for lobe in lobes), depth=14 + 22 * extent, fill=float(rng.normal(45, 10))
        )
    return FindingGenerator(
        abnormality="Atelectasis",
        severity=severity_of(extent),
        side=side_of(names),
        lobes=names,
        number=number,
        size_mm=round(site.millimetres(thickness), 0) if plates else None,
        kind="linear" if plates else "passive",
        centre=at(centres[0]) if plates else None,
        parts=centres[: number if plates else 0],
        painter=painter,
    )


def _paint_plates(canvas: Canvas, *, centres: Floats, tilts: Floats, half: float, reach: float) -> None:
    for centre, tilt in zip(centres, tilts, strict=True):
        box, part = canvas.around(centre, reach + canvas.grid.edge)
        x, y, z = part.grid.coordinates
        dx, dy = x - centre[0], y - centre[1]
        sheet = np.abs(z - centre[2] - tilt[0] * dx - tilt[1] * dy + np.float32(0.004) * (dx * dx + dy * dy)) - np.float32(half)
        distance = np.maximum(sheet, np.hypot(dx, 1.3 * dy) - np.float32(reach))
        fraction = soft(distance, canvas.grid.edge) * part.hull
        part.paint(fraction * np.float32(0.92), 15.0)
        canvas.mark("Atelectasis", fraction, box)


def _paint_collapse(canvas: Canvas, *, sides: tuple[int, ...], depth: float, fill: float) -> None:
    """Behind and low, beside the spine: the lung that lies deepest."""
    for side in sides:
        low, high = sorted((side * 16, side * 105))
        box = canvas.grid.box((low, 20, -170), (high, 110, 0))
        part = canvas.within(box)
        x, y, z = part.grid.coordinates
        wall = -part.thorax.cavity(x, y, z)
        distance = wall - np.float32(depth) * smoothstep((-5 - z) / 55) * smoothstep((y - 25) / 30)
        fraction = soft(distance, 1.5 * canvas.grid.edge) * part.lung
        part.paint(fraction, fill)
        canvas.mark("Atelectasis", fraction, box)
