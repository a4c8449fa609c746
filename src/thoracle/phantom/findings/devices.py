"""Medical material: pacemakers, ports, sternal wires, valves, tubes and spinal screws."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from thoracle.phantom.anatomy.patient import Rng
from thoracle.phantom.anatomy.soft_tissue import ESOPHAGUS
from thoracle.phantom.anatomy.tubes import Tubes, joined, path
from thoracle.phantom.findings.calcium import on_heart
from thoracle.phantom.findings.finding import FindingGenerator, GrowthSite, Side
from thoracle.phantom.imaging.canvas import Canvas

_NAME = "Medical material"


def sample_material(rng: Rng, site: GrowthSite) -> FindingGenerator:
    """Sample one device."""
    makers: dict[str, tuple[float, Callable[[Rng, GrowthSite, int], Tubes], tuple[float, float]]] = {
        "pacemaker": (0.28, _pacemaker, (2200, 3071)),
        "central venous port": (0.22, _port, (900, 2400)),
        "sternal wires": (0.2, _wires, (1500, 3071)),
        "prosthetic heart valve": (0.1, _valve, (1200, 2800)),
        "nasogastric tube": (0.1, _tube, (250, 900)),
        "spinal fixation screws": (0.1, _screws, (2000, 3071)),
    }
    kind = str(rng.choice(list(makers), p=[weight for weight, _, _ in makers.values()]))
    _, make, (low, high) = makers[kind]
    sign = -1 if rng.random() < 0.4 else 1
    tubes = make(rng, site, sign)
    side: Side = "left" if sign > 0 else "right"
    return FindingGenerator(
        abnormality=_NAME,
        severity="moderate",
        side=side if kind in ("pacemaker", "central venous port") else None,
        kind=kind,
        centre=(float(tubes.start[0, 0]), float(tubes.start[0, 1]), float(tubes.start[0, 2])),
        parts=tubes.start[:1],
        painter=partial(_paint, tubes=tubes, fill=float(rng.uniform(low, high))),
    )


def _paint(canvas: Canvas, *, tubes: Tubes, fill: float) -> None:
    box, fraction = canvas.tubes(tubes, fill)
    if fraction.size:
        canvas.mark(_NAME, fraction, box, above=0.06)


def _box(sign: int, site: GrowthSite, *, height: float, size: float, flat: float) -> Tubes:
    """A flat can under the skin below the collar bone, as a fan of short rods."""
    x = sign * 78.0
    y = site.thorax.front(height) * np.sqrt(max(0.1, 1 - (x / 128) ** 2)) - 17
    rods = [(x + sign * d, y + 0.4 * abs(d), height + 0.5 * size * np.cos(d / size * 2.6)) for d in np.linspace(-size / 2, size / 2, 5)]
    return joined(*(path([(a, b, c - size * 0.8, flat), (a, b, c, flat)]) for a, b, c in rods))


def _lead(sign: int, site: GrowthSite, *, end: tuple[float, float, float], radius: float, height: float) -> Tubes:
    """From below the collar bone through the subclavian vein and the superior vena cava."""
    x = sign * 78.0
    y = site.thorax.front(height) * 0.8 - 12
    stations = [(x, y, height, radius), (sign * 88, -34, 92, radius), (sign * 44, -28, 98, radius)]
    stations += [(-20, -20, 58, radius), (-24, -18, 10, radius), (*end, radius)]
    return path(stations)


def _pacemaker(rng: Rng, site: GrowthSite, sign: int) -> Tubes:
    height = float(rng.uniform(45, 66))
    radius = max(1.1, 0.32 * site.finest)
    atrium = _lead(sign, site, end=(-26.0, -26.0, -34.0), radius=radius, height=height)
    apex = on_heart(site.thorax, np.array([[52.0, -52.0, -82.0]], dtype=np.float32), above=-6)[0]
    ventricle = path([(-24, -18, 10, radius), (-16, -30, -46, radius), (float(apex[0]), float(apex[1]), float(apex[2]), radius)])
    return joined(_box(sign, site, height=height, size=float(rng.uniform(36, 46)), flat=max(3.5, 0.9 * site.finest)), atrium, ventricle)


def _port(rng: Rng, site: GrowthSite, sign: int) -> Tubes:
    height = float(rng.uniform(40, 60))
    lead = _lead(sign, site, end=(-22.0, -14.0, float(rng.uniform(-20, 0))), radius=max(1.2, 0.36 * site.finest), height=height)
    return joined(_box(sign, site, height=height, size=20, flat=max(4.5, 1.0 * site.finest)), lead)


def _wires(rng: Rng, site: GrowthSite, sign: int) -> Tubes:
    loops = []
    for z in np.linspace(-48, 58, int(rng.integers(5, 8))):
        y = site.thorax.front(float(z)) - 5.5
        turn = np.linspace(0, 2 * np.pi, 9)
        radius = max(0.8, 0.24 * site.finest)
        loops.append(path([(17 * np.cos(a), y + 8 * np.sin(a), z + rng.normal(0, 0.4), radius) for a in turn]))
    return joined(*loops)


def _valve(rng: Rng, site: GrowthSite, sign: int) -> Tubes:
    centre, size = ((-2.0, -26.0, -28.0), 12.0) if sign > 0 else ((26.0, -10.0, -48.0), 14.5)
    turn = np.linspace(0, 2 * np.pi, 13)
    radius = max(1.5, 0.45 * site.finest)
    ring: list[tuple[float, ...]] = [
        (centre[0] + size * np.cos(a), centre[1] + 0.6 * size * np.sin(a), centre[2] + 0.7 * size * np.sin(a), radius) for a in turn
    ]
    return path(ring)


def _tube(rng: Rng, site: GrowthSite, sign: int) -> Tubes:
    radius = max(2.0, 0.55 * site.finest)
    stations = np.concatenate([ESOPHAGUS.start, ESOPHAGUS.end[-1:]])[::-1]  # from the stomach up: every scan shows where it begins
    return path([(float(x), float(y), float(z), radius) for x, y, z in stations])


def _screws(rng: Rng, site: GrowthSite, sign: int) -> Tubes:
    first = float(rng.choice((-69, -46, -23, 0))) + 11.5
    radius = max(2.2, 0.55 * site.finest)
    levels = [first + 23 * k for k in range(int(rng.integers(2, 4)))]
    screws = [path([(side * 18, 112, z, radius), (side * 8, 64, z + 1, radius)]) for z in levels for side in (-1, 1)]
    rods = [path([(side * 18, 113, levels[0] - 8, radius), (side * 18, 113, levels[-1] + 8, radius)]) for side in (-1, 1)]
    return joined(*screws, *rods)
