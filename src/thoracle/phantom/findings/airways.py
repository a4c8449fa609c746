"""Bronchi too wide or too thick: bronchiectasis and peribronchial thickening."""

from __future__ import annotations

from functools import partial

import numpy as np

from thoracle.phantom.anatomy.patient import Rng
from thoracle.phantom.anatomy.thorax import LOBES
from thoracle.phantom.anatomy.tubes import Tubes, filled
from thoracle.phantom.findings.finding import FindingGenerator, GrowthSite, severity_of, side_of
from thoracle.phantom.imaging.canvas import Canvas


def sample_bronchiectasis(rng: Rng, site: GrowthSite) -> FindingGenerator:
    """Sample bronchi of one to three lobes that stay wide towards the pleura."""
    extent = rng.random()
    lobes = np.sort(rng.choice(5, int(rng.integers(1, 4)), replace=False, p=(0.15, 0.2, 0.25, 0.15, 0.25)))
    airways = site.trees.airways
    tubes = airways.tubes.chosen(np.isin(airways.lobe, lobes) & (airways.generation >= 2) & (airways.generation <= 5))
    lumen = max(2.6, 1.0 * site.finest) * (1 + 0.5 * extent)
    beads = rng.uniform(0.75, 1.3, len(tubes)).astype(np.float32) * np.float32(lumen)
    wide = Tubes(start=tubes.start, end=tubes.end, first=beads, last=beads * np.float32(0.95))
    names = tuple(LOBES[i] for i in lobes)
    return FindingGenerator(
        abnormality="Bronchiectasis",
        severity=severity_of(extent),
        side=side_of(names),
        lobes=names,
        size_mm=round(site.millimetres(2 * lumen), 0),
        kind="cylindrical" if extent < 0.6 else "cystic",
        painter=partial(_paint_wide, tubes=wide, wall=max(1.2, 0.36 * site.finest)),
    )


def _paint_wide(canvas: Canvas, *, tubes: Tubes, wall: float) -> None:
    box, outer = filled(canvas.grid, tubes.resized(1.0, plus=wall))
    outer *= canvas.hull[box] > 0.3
    canvas.paint(outer, 25.0, box)
    canvas.lung[box] *= 1 - outer
    inner_box, inner = filled(canvas.grid, tubes)
    inner *= canvas.hull[inner_box] > 0.3
    canvas.paint(inner, -975.0, inner_box)
    canvas.mark("Bronchiectasis", outer, box)


def sample_peribronchial(rng: Rng, site: GrowthSite) -> FindingGenerator:
    """Sample cuffs around the larger bronchi of both lungs; their lumen is as it was."""
    extent = rng.random()
    airways = site.trees.airways
    lower = rng.random() < 0.5
    lobes = (2, 4) if lower else (0, 1, 2, 3, 4)
    tubes = airways.tubes.chosen(np.isin(airways.lobe, lobes) & (airways.generation <= (4 if lower else 3)))
    return FindingGenerator(
        abnormality="Peribronchial thickening",
        severity=severity_of(extent),
        side="bilateral",
        lobes=tuple(LOBES[i] for i in lobes) if lower else (),
        painter=partial(_paint_cuffs, tubes=tubes, wall=max(2.0, 0.75 * site.finest) * (1 + 0.45 * extent)),
    )


def _paint_cuffs(canvas: Canvas, *, tubes: Tubes, wall: float) -> None:
    box, cuff = filled(canvas.grid, tubes.resized(1.0, plus=1.2 + wall))
    cuff *= canvas.hull[box] > 0.3
    canvas.paint(cuff, 15.0, box)
    canvas.lung[box] *= 1 - cuff
    canvas.tubes(tubes, -970.0)
    canvas.mark("Peribronchial thickening", cuff, box)
