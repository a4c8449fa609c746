"""Heart, hiatus and nodes: cardiomegaly, hiatal hernia, lymphadenopathy."""

from __future__ import annotations

from functools import partial
from typing import Final

import numpy as np

from thoracle.phantom.anatomy.patient import Rng
from thoracle.phantom.anatomy.soft_tissue import HEART_BOX
from thoracle.phantom.findings.finding import FindingGenerator, GrowthSite, at, ellipsoid, lognormal_radii, severity_of
from thoracle.phantom.imaging.canvas import Canvas
from thoracle.phantom.imaging.grid import Field, Floats, soft

#: Lymph node stations: name, canonical place, how far nodes stray.
STATIONS: Final = (
    ("right paratracheal", (-17.0, 0.0, 34.0), 7.0),
    ("prevascular", (2.0, -46.0, 32.0), 8.0),
    ("aortopulmonary", (24.0, -4.0, 22.0), 5.0),
    ("subcarinal", (2.0, 20.0, -22.0), 5.0),
    ("right hilar", (-44.0, 6.0, -6.0), 6.0),
    ("left hilar", (48.0, 12.0, -6.0), 6.0),
    ("axillary", (-138.0, -8.0, 66.0), 8.0),
    ("axillary", (138.0, -8.0, 66.0), 8.0),
)
#: A heart is called large from this size, in units of the canonical one.
_LARGE: Final = 1.17


def enlarged_heart(rng: Rng) -> float:
    """Sample the size of a heart with cardiomegaly; `Thorax.heart` takes it before anything is painted."""
    return _LARGE + 0.24 * float(rng.random())


def sample_cardiomegaly(rng: Rng, site: GrowthSite) -> FindingGenerator:
    """Return the heart as it is in `site.thorax`."""
    size = site.thorax.heart
    return FindingGenerator(
        abnormality="Cardiomegaly",
        severity=severity_of((size - _LARGE) / 0.24),
        size_mm=round(site.millimetres(site.thorax.heart_width()), 0),
        painter=_paint_cardiomegaly,
    )


def _paint_cardiomegaly(canvas: Canvas) -> None:
    box = canvas.grid.box(*HEART_BOX)
    x, y, z = canvas.grid.within(box).coordinates
    canvas.mark("Cardiomegaly", soft(canvas.thorax.heart_surface(x, y, z), canvas.grid.edge), box, above=0.5)


def sample_hernia(rng: Rng, site: GrowthSite) -> FindingGenerator:
    """Sample a stomach above the diaphragm, behind the heart: a pouch with fluid and air, or with fat alone."""
    extent = rng.random()
    radius = max(13.0, 5 * site.finest) + 14 * extent
    centre = np.array([10 + rng.normal(0, 5), 30 - 0.2 * radius, -84 + 0.5 * radius + rng.normal(0, 3)], dtype=np.float32)
    fatty = rng.random() < 0.2
    return FindingGenerator(
        abnormality="Hiatal hernia",
        severity=severity_of(extent),
        size_mm=round(site.millimetres(2 * radius), 0),
        kind="fat" if fatty else "sliding",
        centre=at(centre),
        parts=centre[None],
        painter=partial(
            _paint_hernia,
            centre=centre,
            radii=lognormal_radii(rng, radius, 0.1) * np.array([1.1, 0.8, 1.1], dtype=np.float32),
            level=float(rng.uniform(-0.5, 0.35)),
            fill=float(rng.normal(22, 12)),
            fatty=fatty,
        ),
    )


def _paint_hernia(canvas: Canvas, *, centre: Floats, radii: Floats, level: float, fill: float, fatty: bool) -> None:
    box, part = canvas.around(centre, float(radii.max()) + 8)
    _, y, _ = part.grid.coordinates
    outside = ellipsoid(part, centre, radii)
    spine = 17 - np.hypot(part.grid.coordinates[0], y - 66)
    pouch = np.maximum(outside, spine)
    fraction = soft(pouch, canvas.grid.edge)
    part.paint(fraction, 40.0)
    part.lung[...] *= 1 - fraction
    part.hull[...] *= 1 - fraction
    surface = float(centre[1] + level * radii[1])
    content = np.full_like(pouch, part.thorax.patient.fat_hu) if fatty else np.where(y < surface, np.float32(-940), np.float32(fill))
    part.paint(soft(pouch + 3.2, canvas.grid.edge), content)
    canvas.mark("Hiatal hernia", fraction, box, above=0.5)


def sample_lymphadenopathy(rng: Rng, site: GrowthSite) -> FindingGenerator:
    """Sample two to seven nodes with a short axis of more than 10 mm, in neighbouring stations."""
    extent = rng.random()
    number = int(rng.integers(2, 5) + (3 if extent > 0.6 else 1))
    chosen = rng.choice(len(STATIONS), number, p=(0.18, 0.14, 0.15, 0.18, 0.13, 0.12, 0.05, 0.05))
    low = max(11.0, 5 * site.finest) / 2
    radii = np.sort(low + (1 + 4.5 * extent) * rng.random(number))[::-1]
    centres = np.array([STATIONS[i][1] for i in chosen]) + rng.normal(0, 1, (number, 3)) * np.array([[STATIONS[i][2]] for i in chosen])
    shapes = [lognormal_radii(rng, r, 0.06) * np.array([1, 1, 1.35], dtype=np.float32) for r in radii]
    return FindingGenerator(
        abnormality="Lymphadenopathy",
        severity=severity_of(extent),
        size_mm=round(site.millimetres(2 * float(radii[0])), 0),
        number=number,
        kind=", ".join(dict.fromkeys(STATIONS[i][0] for i in chosen)),
        centre=at(centres[0]),
        parts=centres,
        painter=partial(
            _paint_nodes,
            centres=centres.astype(np.float32),
            shapes=shapes,
            fills=rng.normal(46, 8, number),
            rough=Field.sample(rng, 12),
        ),
    )


def _paint_nodes(canvas: Canvas, *, centres: Floats, shapes: list[Floats], fills: Floats, rough: Field) -> None:
    for centre, radii, fill in zip(centres, shapes, fills, strict=True):
        box, part = canvas.around(centre, float(radii.max()) + 2 * canvas.grid.edge)
        fraction = soft(ellipsoid(part, centre, radii, rough=rough, amount=0.8), canvas.grid.edge)
        part.paint(fraction, float(fill))
        part.lung[...] *= 1 - fraction
        part.hull[...] *= 1 - fraction
        canvas.mark("Lymphadenopathy", fraction, box)
