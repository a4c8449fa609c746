"""Body wall, abdomen, heart and great vessels: paints what is neither bone nor lung.

Stations of vessels are canonical millimetres (x, y, z, radius). Hounsfield units of tissues are the patient's own.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from thoracle.phantom.anatomy.tubes import joined, path
from thoracle.phantom.imaging.canvas import Canvas
from thoracle.phantom.imaging.grid import Floats, smoothstep, soft

AORTA: Final = path(
    [
        (-8, -18, -25, 15),
        (-14, -30, 0, 15.5),
        (-12, -28, 25, 15),
        (-2, -18, 42, 14),
        (11, 2, 49, 13.5),
        (20, 22, 44, 13),
        (25, 40, 28, 12.5),
        (25, 50, 0, 12),
        (23, 52, -50, 11.5),
        (12, 50, -100, 11),
        (3, 48, -160, 10),
    ]
)
_NECK_ARTERIES: Final = joined(
    path([(0, -14, 50, 6.5), (-14, -8, 80, 6), (-24, -6, 135, 5), (-30, 12, 260, 4)]),
    path([(8, -4, 52, 4.5), (12, 0, 90, 4), (20, 4, 135, 4), (30, 14, 260, 4)]),
    path([(16, 8, 52, 5), (24, 14, 85, 5), (48, 8, 112, 4.5)]),
)
_VEINS: Final = joined(
    path([(14, -38, -22, 13), (16, -28, -2, 13.5), (12, -16, 4, 13)]),
    path([(12, -16, 4, 12), (-10, -8, -3, 11.5), (-38, 0, -8, 9)]),
    path([(16, -20, 4, 11.5), (28, -2, 9, 11), (40, 10, 4, 8)]),
    path([(-24, -14, 62, 8.5), (-24, -18, 10, 9), (-22, -14, -18, 10)]),
    path([(-24, -14, 60, 6.5), (-34, -18, 100, 6.5), (-36, -10, 135, 6), (-36, 14, 260, 6)]),
    path([(-20, -22, 54, 6), (20, -36, 62, 6), (42, -28, 100, 6), (40, -14, 135, 6), (36, 14, 260, 6)]),
    path([(-22, 4, -72, 12), (-20, 20, -160, 12), (-20, 30, -360, 12)]),
    path([(-6, 48, -150, 3.5), (-7, 46, 10, 4), (-16, 32, 20, 4.5), (-24, -10, 18, 4.5)]),
)
ESOPHAGUS: Final = path([(2, 26, 260, 7.5), (2, 32, 135, 7.5), (4, 33, 0, 8), (5, 36, -60, 8), (14, 26, -98, 8), (30, 8, -116, 8)])


_BELOW: Final = path([(3, 48, -160, 10), (2, 44, -360, 9)])

#: What the heart fits in, however large.
HEART_BOX: Final = ((-85.0, -105.0, -150.0), (130.0, 60.0, 25.0))


def paint_body(canvas: Canvas, uneven: Floats, skin: Floats) -> None:
    """Paint air, skin, fat and muscle of the wall. `uneven` is a slow field; `skin` the signed distance to the body's surface."""
    patient, thorax, grid = canvas.thorax.patient, canvas.thorax, canvas.grid
    x, y, _ = grid.coordinates
    canvas.paint(soft(skin, grid.edge), patient.fat_hu + 5 * uneven)
    _paint_breasts(canvas, uneven)
    below_fat = skin + thorax.wall(x, y).astype(np.float32)
    muscle = soft(below_fat, grid.edge)
    layers = np.abs(below_fat + np.float32(0.45 * patient.muscle_bulk) + 4 * uneven)
    layers *= np.float32(0.35)
    muscle *= np.clip(layers, 0.25, 1, out=layers)
    muscle *= 1 - np.float32(patient.marbling) * np.clip(uneven + 0.3, 0, 1.6)
    canvas.paint(muscle, patient.muscle_hu + 4 * uneven)
    _paint_armpits(canvas)
    rind = np.float32(1.8 / max(grid.edge, 1.8)) * np.clip(1 - np.abs(skin + 0.5 * grid.edge) / np.float32(grid.edge), 0, 1)
    canvas.paint(rind, 20.0)


def _paint_armpits(canvas: Canvas) -> None:
    """Fat between the muscles of chest and shoulder, where axillary nodes lie; none outside the ribs' front or the skin."""
    for side in (-1, 1):
        box, part = canvas.around((side * 136, -6, 68), 62)
        x, y, z = part.grid.coordinates
        fat = _ellipsoid(x, y, z, (side * 136, -6, 70), (22, 30, 52))
        canvas.paint(0.9 * soft(fat, 2 * canvas.grid.edge) * (part.hu > -200), canvas.thorax.patient.fat_hu, box)


def _paint_breasts(canvas: Canvas, uneven: Floats) -> None:
    """Glandular tissue in front of the chest wall; the body's outline of women bulges there."""
    patient = canvas.thorax.patient
    if patient.sex == "M":
        return
    size = 0.45 + patient.fat / 36
    front = -106 - 0.6 * patient.fat
    for side in (-62, 62):
        middle, radii = (side, front, -30), (50 * size, 34 * size, 46 * size)
        box = canvas.grid.box(*(tuple(m + sign * r for m, r in zip(middle, radii, strict=True)) for sign in (-1, 1)))  # type: ignore[arg-type]
        x, y, z = canvas.grid.within(box).coordinates
        k = np.sqrt(((x - middle[0]) / radii[0]) ** 2 + ((y - middle[1]) / radii[1]) ** 2 + ((z - middle[2]) / radii[2]) ** 2)
        canvas.paint(soft((k - 1) * np.float32(30 * size), canvas.grid.edge) * (canvas.hu[box] < -160), patient.fat_hu, box)
        gland = soft((k - 0.5) * np.float32(30 * size), 3 * canvas.grid.edge) * np.clip(0.4 + 0.5 * uneven[box], 0, 0.9)
        canvas.paint(gland, 30.0, box)


def paint_cavity(canvas: Canvas, cavity: Floats, uneven: Floats) -> None:
    """Paint fat of mediastinum and abdomen inside the rib cage; neck above."""
    _, _, z = canvas.grid.coordinates
    neck = smoothstep((z - 70) / 40) * np.clip(0.55 + 0.4 * uneven, 0, 1)
    canvas.paint(soft(cavity + 2, canvas.grid.edge), canvas.thorax.patient.fat_hu + 6 * uneven + neck * 130)


def paint_abdomen(canvas: Canvas, cavity: Floats, uneven: Floats, stomach: tuple[float, float, float]) -> None:
    """Paint liver, spleen, stomach, kidneys and bowel under the diaphragm. `stomach`: fluid's HU, its level along y, size."""
    thorax, patient = canvas.thorax, canvas.thorax.patient
    top = -40 + 26 * max(0.0, -patient.inspiration)
    box = canvas.grid.box((-150, -110, -400), (150, 130, top))
    if box[2].start >= box[2].stop:
        return
    x, y, z = canvas.grid.within(box).coordinates
    under = z - thorax.diaphragm(x, y) + 2.5
    inside = np.maximum(cavity[box] + 5, under)
    liver = np.maximum(inside, x - 34 + 0.35 * (y + 10) + 0.18 * (z + 90))
    np.maximum(liver, 20 - np.hypot(x, y - 62), out=liver)
    np.maximum(liver, -185 + 0.5 * x - z, out=liver)
    _crura(canvas, box, under)
    bowel = np.maximum(np.maximum(cavity[box] + 8, z + 175), y - 28)
    canvas.paint(soft(bowel, 12) * np.clip(0.5 + uneven[box], 0, 1), 30.0, box)
    canvas.paint(soft(liver, canvas.grid.edge), patient.liver_hu + 0.25 * (patient.vein_hu - 42) + 4 * uneven[box], box)
    for side in (-56, 56):
        low, part = canvas.around((side, 62, -208), 56)
        kidney = _ellipsoid(*part.grid.coordinates, (side, 62, -208), (27, 23, 54))
        canvas.paint(soft(kidney, canvas.grid.edge), 34 + 0.4 * (patient.vein_hu - 42), low)
    spleen = np.maximum(inside, _ellipsoid(x, y, z, (84, 48, -122), (36, 40, 52)))
    canvas.paint(soft(spleen, canvas.grid.edge), 48 + 0.3 * (patient.vein_hu - 42), box)
    fluid, level, size = stomach
    pouch = np.maximum(inside, _ellipsoid(x, y, z, (58, -16, -122), (44 * size, 36 * size, 46 * size)))
    canvas.paint(soft(pouch - 4, canvas.grid.edge), 42.0, box)
    content = np.where(y < level, np.float32(-960), np.float32(fluid) + 8 * uneven[box])
    canvas.paint(soft(pouch, canvas.grid.edge), content, box)


def paint_heart(canvas: Canvas) -> None:
    """Paint pericardial fat, muscle and chambers."""
    patient, s = canvas.thorax.patient, canvas.thorax.heart
    box = canvas.grid.box(*HEART_BOX)
    x, y, z = canvas.grid.within(box).coordinates
    surface = canvas.thorax.heart_surface(x, y, z)
    shown = np.maximum(surface, canvas.thorax.cavity(x, y, z) + 3)
    canvas.paint(soft(shown, canvas.grid.edge), patient.muscle_hu + 6, box)
    if patient.contrast:
        left = _ellipsoid(x, y, z, (36, -30, -62), (30 * s, 20 * s, 24 * s))
        atrium = _ellipsoid(x, y, z, (8, 8, -34), (26 * s, 18 * s, 20 * s))
        canvas.paint(soft(np.minimum(left, atrium), canvas.grid.edge), patient.artery_hu, box)
        right = _ellipsoid(x, y, z, (6, -44, -54), (32 * s, 17 * s, 30 * s))
        canvas.paint(soft(np.maximum(right, surface + 4), canvas.grid.edge), patient.vein_hu, box)
    groove = np.abs(surface + 5) + 0.25 * np.abs(z + 38 + 0.3 * x)
    canvas.paint(0.75 * soft(groove - 4, canvas.grid.edge), patient.fat_hu, box)


def paint_vessels(canvas: Canvas) -> None:
    """Paint aorta and its branches, pulmonary trunk, veins, oesophagus."""
    patient = canvas.thorax.patient
    wall = patient.muscle_hu
    canvas.tubes(ESOPHAGUS, wall)
    canvas.tubes(_VEINS, patient.vein_hu)
    canvas.tubes(joined(AORTA, _BELOW, _NECK_ARTERIES), patient.artery_hu)


def _crura(canvas: Canvas, box: tuple[slice, slice, slice], under: Floats) -> None:
    sheet = np.abs(under - 1.5) - 1.5
    canvas.paint(0.8 * soft(sheet, canvas.grid.edge) * soft(canvas.thorax.cavity(*canvas.grid.within(box).coordinates), 1), 45.0, box)


def _ellipsoid(x: Floats, y: Floats, z: Floats, centre: tuple[float, ...], radii: tuple[float, ...]) -> Floats:
    k = np.sqrt(((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 + ((z - centre[2]) / radii[2]) ** 2)
    return np.asarray((k - 1) * np.float32(min(radii)), dtype=np.float32)
