"""Fluid where none belongs: pleural and pericardial effusion."""

from __future__ import annotations

from functools import partial

import numpy as np

from thoracle.phantom.anatomy.patient import Rng
from thoracle.phantom.anatomy.soft_tissue import HEART_BOX
from thoracle.phantom.findings.finding import FindingGenerator, GrowthSite, Side, severity_of
from thoracle.phantom.imaging.canvas import Canvas
from thoracle.phantom.imaging.grid import smoothstep, soft


def sample_pleural_effusion(rng: Rng, site: GrowthSite) -> FindingGenerator:
    """Sample a crescent in the dependent pleura, thickest behind and below (the patient lies on the back)."""
    extent = rng.random()
    side: Side = ("right", "left", "bilateral")[int(rng.choice(3, p=(0.33, 0.22, 0.45)))]
    depth = max(8.0, 2.6 * site.finest) + 34 * extent**1.5
    uneven = {-1: float(rng.uniform(0.6, 1)), 1: float(rng.uniform(0.6, 1))}
    signs = {"right": (-1,), "left": (1,), "bilateral": (-1, 1)}[side]
    depths = tuple((sign, depth * (uneven[sign] if side == "bilateral" else 1.0)) for sign in signs)
    return FindingGenerator(
        abnormality="Pleural effusion",
        severity=severity_of(extent),
        side=side,
        size_mm=round(site.millimetres(max(d for _, d in depths)), 0),
        painter=partial(_paint_pleural, depths=depths, fill=float(rng.normal(10, 7))),
    )


def _paint_pleural(canvas: Canvas, *, depths: tuple[tuple[int, float], ...], fill: float) -> None:
    for sign, depth in depths:
        low, high = sorted((sign * 4, sign * 150))
        box = canvas.grid.box((low, -30, -190), (high, 120, 100))
        part = canvas.within(box)
        x, y, z = part.grid.coordinates
        wall = -part.thorax.cavity(x, y, z)
        height = 0.45 + 0.55 * smoothstep((20 - z) / 90)
        behind = smoothstep((y - 5 + 0.8 * depth * 0.5) / 60)
        fraction = soft(wall - np.float32(depth) * height * behind, canvas.grid.edge) * part.hull * (z < 75)
        part.paint(fraction, fill)
        part.lung[...] *= 1 - fraction
        part.hull[...] *= 1 - fraction
        canvas.mark("Pleural effusion", fraction, box)


def sample_pericardial_effusion(rng: Rng, site: GrowthSite) -> FindingGenerator:
    """Sample a layer of fluid around the heart, thicker below and behind."""
    extent = rng.random()
    depth = max(6.0, 2.2 * site.finest) + 12 * extent
    return FindingGenerator(
        abnormality="Pericardial effusion",
        severity=severity_of(extent),
        size_mm=round(site.millimetres(depth), 0),
        painter=partial(_paint_pericardial, depth=depth, fill=float(rng.normal(10, 6))),
    )


def _paint_pericardial(canvas: Canvas, *, depth: float, fill: float) -> None:
    box = canvas.grid.box(*HEART_BOX)
    part = canvas.within(box)
    x, y, z = part.grid.coordinates
    away = part.thorax.heart_surface(x, y, z)
    coat = np.float32(depth) * (0.55 + 0.45 * smoothstep((y + 20) / 50)) * smoothstep((8 - z) / 30)
    fat = np.clip(1 - np.abs(away - 0.5) / 3, 0, 1)
    bounds = np.maximum(part.thorax.cavity(x, y, z) + 4, np.hypot(x, y - 64) * -1 + 19)
    shell = np.maximum(np.maximum(away - coat, -away + 1), bounds)
    fraction = soft(shell, canvas.grid.edge) * (1 - 0.5 * fat)
    part.paint(fraction, fill)
    part.lung[...] *= 1 - fraction
    part.hull[...] *= 1 - fraction
    canvas.mark("Pericardial effusion", fraction, box, above=0.35)
