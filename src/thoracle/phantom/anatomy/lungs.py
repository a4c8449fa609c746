"""Air spaces, fissures, vessels and airways of normal lungs."""

from __future__ import annotations

from typing import Final

import numpy as np

from thoracle.phantom.anatomy.soft_tissue import HEART_BOX
from thoracle.phantom.anatomy.thorax import HEART_GAP, LUNG_BOX
from thoracle.phantom.anatomy.trees import Trees
from thoracle.phantom.anatomy.tubes import Tubes, filled, joined, path
from thoracle.phantom.imaging.canvas import Canvas
from thoracle.phantom.imaging.grid import Floats, soft

#: Windpipe and main bronchi.
_TRUNK: Final = joined(
    path([(0, 6, 260, 8.5), (0, 14, 135, 8.5), (-1, 14, 60, 8.5), (0, 14, 4, 8.5)]),
    path([(0, 14, 4, 7), (-22, 11, -14, 6.3), (-38, 8, -22, 5)]),
    path([(0, 14, 4, 6.8), (26, 15, -18, 5.8), (40, 14, -26, 4.8)]),
)
#: Walls of later generations are too thin for any CT.
_SEEN: Final = 5


def lung_share(canvas: Canvas, cavity: Floats) -> Floats:
    """Return the fraction of lung in each voxel, before vessels and airways; `cavity` is the distance to the rib cage's inner face."""
    share, box = np.zeros(canvas.grid.shape, dtype=np.float32), canvas.grid.box(*LUNG_BOX)
    grid = canvas.grid.within(box)
    distance = canvas.thorax.lung_without_heart(*grid.coordinates, cavity[box])
    heart_box = grid.box(*HEART_BOX)
    near = distance[heart_box]
    np.maximum(near, HEART_GAP - canvas.thorax.heart_surface(*grid.within(heart_box).coordinates), out=near)
    share[box] = soft(distance, canvas.grid.edge)
    return share


def paint_lungs(canvas: Canvas, uneven: Floats, slow: Floats) -> None:
    """Paint parenchyma: denser below (supine) and in expiration, uneven in everybody; fissures."""
    patient = canvas.thorax.patient
    inside = np.flatnonzero(canvas.lung > 0)
    x, y, z = canvas.grid.at(inside)
    depth = (y - 10) / np.float32(90)
    values = patient.lung_hu - 28 * patient.inspiration + patient.lung_gradient * (depth + 0.45 * np.clip(depth, 0, None) ** 3)
    values += patient.lung_texture * (uneven.ravel()[inside] * np.float32(0.35) + slow.ravel()[inside])
    oblique, horizontal = canvas.thorax.lobe(x, y, z)
    right = x < 3
    sheet = np.minimum(np.abs(oblique) / np.float32(1.5), np.where(right & (oblique > 0), np.abs(horizontal), 99))
    thin = np.float32(min(1.0, 0.8 / canvas.grid.edge))
    values += (-500 - values) * thin * np.clip(1 - sheet / np.float32(max(canvas.grid.edge, 1.0)), 0, 1)
    np.maximum(values, -985, out=values)
    hu = canvas.hu.reshape(-1)
    hu[inside] += canvas.lung.ravel()[inside] * (values - hu[inside])


def paint_trees(canvas: Canvas, trees: Trees) -> None:
    """Paint vessels, then airways with their walls; what they take is no longer lung."""
    patient = canvas.thorax.patient
    blood = 0.5 * (patient.vein_hu + patient.artery_hu)
    _paint_branches(canvas, trees.vessels, blood)
    box, fraction = canvas.tubes(_TRUNK.resized(1.0, plus=1.5), 30.0)
    canvas.lung[box] *= 1 - fraction
    canvas.tubes(_TRUNK, -985.0)
    visible = trees.airways.chosen(trees.airways.generation <= _SEEN).tubes
    _paint_branches(canvas, visible.resized(1.25, plus=0.4), 30.0)
    _paint_branches(canvas, visible, -985.0)


def _paint_branches(canvas: Canvas, tubes: Tubes, hu: float) -> None:
    """Inside the pleura and at the hila; a straight piece may cut across the diaphragm's dome, a branch does not."""
    box, fraction = filled(canvas.grid, tubes)
    x, _, z = canvas.grid.within(box).coordinates
    fraction *= (canvas.hull[box] > 0.2) | ((np.abs(x) < 48) & (z > -40))
    canvas.paint(fraction, hu, box)
    canvas.lung[box] *= 1 - fraction
