"""Define a finding: facts for report and ground truth, and a way to be painted.

A finding is drawn in millimetres from a person's chest (`Site`) before any voxel exists, so it is the same on every grid. Painting it marks
its mask; what resembles it without being it (`mimics.py`) marks none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from thoracle.phantom.anatomy.patient import Rng
from thoracle.phantom.anatomy.thorax import LOBES, Thorax
from thoracle.phantom.anatomy.trees import LungPoints, Trees
from thoracle.phantom.imaging.canvas import Canvas
from thoracle.phantom.imaging.grid import Field, Floats

Severity = Literal["mild", "moderate", "severe"]
Side = Literal["right", "left", "bilateral"]


@dataclass(frozen=True, kw_only=True, eq=False)
class GrowthSite:
    """Describe where findings grow. `finest`: mm that the scanner resolves; no finding is drawn too small to be seen."""

    thorax: Thorax
    points: LungPoints
    trees: Trees
    finest: float

    def millimetres(self, canonical: float) -> float:
        """Convert a canonical length to the person's millimetres."""
        return float(canonical * np.mean(self.thorax.patient.scale))


@dataclass(frozen=True, kw_only=True, eq=False)
class FindingGenerator:
    """Generate one abnormality of one scan.

    Attributes:
        abnormality: its name in `ABNORMALITIES`.
        severity, side, lobes, size_mm, number: as drawn; size is the largest extent that a radiologist would measure. Where lobes are
            named, it is painted in each of them and nowhere else.
        kind: what sort of it ("pacemaker", "linear", …).
        centre: canonical mm, of the largest part.
        parts: (n, 3) canonical mm, the middles of all that its facts count or name: a scan that shows the finding shows each.
        painter: paints its share of hull or lung, and marks its mask.
    """

    abnormality: str
    severity: Severity
    side: Side | None = None
    lobes: tuple[str, ...] = ()
    size_mm: float | None = None
    number: int = 1
    kind: str | None = None
    centre: tuple[float, float, float] | None = None
    parts: Floats = field(default_factory=lambda: np.zeros((0, 3), dtype=np.float32))
    painter: Callable[[Canvas], None]

    def paint(self, canvas: Canvas) -> None:
        """Paint it, and mark its mask, in the lobes that it names; wherever it grows if it names none."""
        if self.lobes:
            with canvas.confined(self.lobes):
                self.painter(canvas)
        else:
            self.painter(canvas)


def severity_of(fraction: float) -> Severity:
    """Grade severity from 0 (least) to 1 (most)."""
    return "mild" if fraction < 0.4 else "moderate" if fraction < 0.75 else "severe"


def side_of(lobes: Iterable[str]) -> Side:
    """Tell on which side lobes lie."""
    sides: dict[str, Side] = {"right": "right", "left": "left"}
    sides_of_lobes = {sides[name.split()[0]] for name in lobes}
    return "bilateral" if len(sides_of_lobes) == 2 else sides_of_lobes.pop()


def lobes_of(thorax: Thorax, points: Floats) -> tuple[str, ...]:
    """List the lobes in which points (n, 3) lie, in the order of `LOBES`."""
    return tuple(LOBES[i] for i in np.unique(thorax.lobe_index(points[:, 0], points[:, 1], points[:, 2])))


def at(point: Floats) -> tuple[float, float, float]:
    """Return a point as three floats."""
    return float(point[0]), float(point[1]), float(point[2])


def ellipsoid(canvas: Canvas, centre: Floats, radii: Floats, *, rough: Field | None = None, amount: float = 0.0) -> Floats:
    """Compute the signed distance to an ellipsoid on a canvas, its surface uneven by a field times `amount` mm."""
    x, y, z = canvas.grid.coordinates
    a, b, c = (np.float32(1 / r) for r in radii)
    distance = np.sqrt(((x - centre[0]) * a) ** 2 + ((y - centre[1]) * b) ** 2 + ((z - centre[2]) * c) ** 2)
    distance -= 1
    distance *= np.float32(min(radii))
    if rough is not None:
        distance += np.float32(amount) * rough.on(canvas.grid)
    return np.asarray(distance)


def lognormal_radii(rng: Rng, radius: float, spread: float) -> Floats:
    """Sample three radii around one."""
    return (radius * np.exp(rng.normal(0, spread, 3))).astype(np.float32)
