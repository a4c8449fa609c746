"""Spread through the lungs: emphysema, mosaic attenuation, septal thickening, fibrotic sequela."""

from __future__ import annotations

from functools import partial

import numpy as np

from thoracle.phantom.anatomy.patient import Rng
from thoracle.phantom.findings.finding import FindingGenerator, GrowthSite, at, ellipsoid, lobes_of, severity_of, side_of
from thoracle.phantom.imaging.canvas import Canvas
from thoracle.phantom.imaging.grid import Field, Floats, smoothstep, soft


def sample_emphysema(rng: Rng, site: GrowthSite) -> FindingGenerator:
    """Sample holes without walls in the upper lobes; in some, bullae under the pleura."""
    extent = rng.random()
    bullae = rng.random() < 0.4
    number = int(rng.integers(3, 8)) if bullae else 0
    centres = [site.points.pick(rng, lobes=(0, 3), depth=(4, 16)) for _ in range(number)]
    radii = rng.uniform(9, 13 + 12 * extent, number)
    return FindingGenerator(
        abnormality="Emphysema",
        severity=severity_of(extent),
        side="bilateral",
        lobes=("right upper lobe", "left upper lobe"),
        number=number or 1,
        size_mm=round(site.millimetres(2 * float(radii.max())), 0) if number else None,
        kind="paraseptal" if bullae else "centrilobular",
        parts=np.array(centres, dtype=np.float32).reshape(-1, 3),
        painter=partial(
            _paint_emphysema,
            holes=Field.sample(rng, max(8.0, 2.6 * site.finest)),
            level=1.0 - 0.75 * extent,
            depth=float(rng.uniform(75, 110)),
            bullae=tuple(zip(centres, radii, strict=True)),
        ),
    )


def _paint_emphysema(canvas: Canvas, *, holes: Field, level: float, depth: float, bullae: tuple[tuple[Floats, float], ...]) -> None:
    _, _, z = canvas.grid.coordinates
    upper = 0.35 + 0.65 * smoothstep((z + 60) / 70)
    hole = np.clip((holes.on(canvas.grid) - np.float32(level)) * np.float32(2.5), 0, 1)
    fraction = hole * upper * canvas.hull
    low = canvas.thorax.patient.lung_hu - depth
    canvas.add(fraction * np.clip(max(low, -992) - canvas.hu, -700, 0))
    canvas.mark("Emphysema", fraction, above=0.45)
    for centre, radius in bullae:
        box, part = canvas.around(centre, radius + 2 * canvas.grid.edge)
        distance = ellipsoid(part, centre, np.full(3, radius, dtype=np.float32))
        inside = soft(distance, canvas.grid.edge) * part.hull
        part.paint(inside, -990.0)
        rim = (
            np.clip(1 - np.abs(distance - 0.8) / np.float32(canvas.grid.edge), 0, 1)
            * np.float32(min(0.5, 1.4 / canvas.grid.edge))
            * part.hull
        )
        part.paint(rim, -250.0)
        canvas.mark("Emphysema", inside, box)


def sample_mosaic(rng: Rng, site: GrowthSite) -> FindingGenerator:
    """Sample patches of darker and brighter lung with sharp borders; brighter by as much as darker, so the lung's mean stays."""
    extent = rng.random()
    return FindingGenerator(
        abnormality="Mosaic attenuation pattern",
        severity=severity_of(extent),
        side="bilateral",
        painter=partial(_paint_mosaic, patches=Field.sample(rng, 24.0), amplitude=36 + 24 * extent),
    )


def _paint_mosaic(canvas: Canvas, *, patches: Field, amplitude: float) -> None:
    sign = np.clip(patches.on(canvas.grid) * 8, -1, 1)
    canvas.add(np.float32(amplitude) * sign * canvas.lung)
    canvas.mark("Mosaic attenuation pattern", -sign * canvas.lung)


def sample_septal(rng: Rng, site: GrowthSite) -> FindingGenerator:
    """Sample a net of septal lines under the pleura of both upper or both lower lobes."""
    extent = rng.random()
    base = rng.random() < 0.7
    return FindingGenerator(
        abnormality="Interlobular septal thickening",
        severity=severity_of(extent),
        side="bilateral",
        lobes=("right lower lobe", "left lower lobe") if base else ("right upper lobe", "left upper lobe"),
        painter=partial(
            _paint_septa,
            net=Field.sample(rng, 15.0),
            half=max(0.6, 0.26 * site.finest) * (1 + 0.3 * extent),
            rind=17 + 12 * extent,
            base=base,
        ),
    )


def _paint_septa(canvas: Canvas, *, net: Field, half: float, rind: float, base: bool) -> None:
    _, _, z = canvas.grid.coordinates
    values = net.on(canvas.grid)
    slopes = np.gradient(values, *canvas.grid.spacing)
    steep = np.sqrt(slopes[0] ** 2 + slopes[1] ** 2 + slopes[2] ** 2) + np.float32(0.02)
    line = soft(np.abs(values) / steep - np.float32(half), canvas.grid.edge)
    zone = smoothstep((10 - z) / 50) if base else smoothstep((z + 30) / 50)
    fraction = line * canvas.lung * smoothstep((np.float32(rind) - _below_pleura(canvas)) / 10) * (0.15 + 0.85 * zone)
    canvas.paint(fraction * np.float32(0.72), -250.0)
    canvas.mark("Interlobular septal thickening", fraction)


def sample_fibrosis(rng: Rng, site: GrowthSite) -> FindingGenerator:
    """Sample scars: at the apices, or bands from the pleura inwards, with lung drawn towards them."""
    extent = rng.random()
    apical = rng.random() < 0.6
    number = 2 if apical else int(rng.integers(2, 4))
    if apical:
        sides = (-1, 1) if rng.random() < 0.65 else (int(rng.choice((-1, 1))),)
        centres = np.array([(side * rng.uniform(36, 50), 22, rng.uniform(76, 92)) for side in sides], dtype=np.float32)
    else:
        centres = np.stack([site.points.pick(rng, lobes=(0, 1, 2, 3, 4), depth=(5, 16)) for _ in range(number)])
    lobes = lobes_of(site.thorax, centres)
    return FindingGenerator(
        abnormality="Pulmonary fibrotic sequela",
        severity=severity_of(extent),
        side=side_of(lobes),
        lobes=lobes,
        number=len(centres),
        kind="apical" if apical else "band",
        centre=at(centres[0]),
        parts=centres,
        painter=partial(
            _paint_scars,
            centres=centres,
            reach=max(22.0, 7 * site.finest) + 14 * extent,
            strands=Field.sample(rng, 12.0),
            half=max(1.4, 0.6 * site.finest),
            fill=float(rng.normal(20, 30)),
        ),
    )


def _paint_scars(canvas: Canvas, *, centres: Floats, reach: float, strands: Field, half: float, fill: float) -> None:
    """Strands that meet at the centre, and a cap on the pleura beside it."""
    for centre in centres:
        box, part = canvas.around(centre, reach)
        x, y, z = part.grid.coordinates
        dx, dy, dz = x - centre[0], y - centre[1], z - centre[2]
        away = np.sqrt(dx * dx + dy * dy + dz * dz) + 1
        uneven = strands.on(part.grid)
        turn = np.arctan2(dy, dx) * 3 + 2.5 * dz / away + 0.8 * uneven
        strand = np.abs(np.sin(turn)) * away / 3 - np.float32(half)
        cap = np.maximum(_below_pleura(part) - np.float32(4 + 1.5 * half), 0.0) - 3 * uneven
        distance = np.maximum(np.minimum(np.minimum(strand, cap), away - np.float32(3 * half)), away - np.float32(reach * 0.9))
        fraction = soft(distance, canvas.grid.edge) * part.hull
        part.paint(fraction * np.float32(0.9), fill)
        canvas.mark("Pulmonary fibrotic sequela", fraction, box)


def _below_pleura(canvas: Canvas) -> Floats:
    """Depth below the outer face of the lungs, mm."""
    x, y, z = canvas.grid.coordinates
    distance = canvas.thorax.lung_without_heart(x, y, z, canvas.thorax.cavity(x, y, z))
    return np.negative(distance, out=distance)
