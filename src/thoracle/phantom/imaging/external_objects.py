"""Paint what a scanner sees around a patient: table, mattress, cloth, and metal that is no medical material.

Foam and blankets are as dense as sick lung, zips and electrodes as bright as pacemakers: drawn without a look at the labels, they keep a
histogram of the whole scan from knowing what is in the body.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from thoracle.phantom.anatomy.patient import Rng
from thoracle.phantom.anatomy.thorax import Thorax
from thoracle.phantom.anatomy.tubes import Tubes, joined, path
from thoracle.phantom.findings.finding import ellipsoid
from thoracle.phantom.imaging.canvas import Canvas
from thoracle.phantom.imaging.grid import Field, Floats, soft
from thoracle.phantom.imaging.mimics import paint_rods

Painter = Callable[[Canvas], None]


def sample_outside(rng: Rng, thorax: Thorax, *, finest: float) -> list[Painter]:
    """Sample what lies outside: always a table; often cloth, often metal."""
    painters: list[Painter] = [
        partial(
            _paint_table,
            drop=float(rng.uniform(0, 8)),
            hollow=float(rng.uniform(0.0008, 0.002)),
            foam=float(rng.uniform(-985, -800)),
            shell=float(rng.uniform(-450, 150)),
            thick=float(rng.uniform(12, 40)),
        )
    ]
    if rng.random() < 0.8:
        fill, gap, thick = (float(rng.uniform(low, high)) for low, high in ((-900, -640), (4, 14), (2, 16)))
        painters.append(partial(_paint_cloth, rough=Field.sample(rng, 24), fill=fill, gap=gap, thick=thick))
    sides = [-1, 1]
    if rng.random() < 0.3:
        laid = sides[: int(rng.integers(1, 3))]
        sides = sides[len(laid) :]
        painters.append(_sample_arms(rng, thorax, laid))
    if sides and thorax.patient.arms_raised:
        painters.append(_sample_raised_arms(rng.spawn(1)[0], sides))
    if rng.random() < 0.65:
        painters.append(_sample_bag(rng, thorax))
    for _ in range(int(rng.choice(3, p=(0.25, 0.5, 0.25)))):
        tubes = _metal(rng, thorax, max(0.9, 0.33 * finest) * float(rng.uniform(0.8, 1.7)))
        painters.append(partial(paint_rods, tubes=tubes, fill=float(rng.uniform(1200, 3071))))
    return painters


def _sample_arms(rng: Rng, thorax: Thorax, sides: Sequence[int]) -> Painter:
    """Forearms laid on the chest by who cannot raise them: skin, fat, muscle, bone."""
    arms = []
    for side in sides:
        z, thick = float(rng.uniform(-120, 0)), float(rng.uniform(26, 36))
        far, near = side * 175.0, -side * float(rng.uniform(0, 60))
        front = thorax.skin_before() - thick - 4
        arms.append(path([(far, front + 60, z - 30, thick * 1.1), (side * 90, front + 12, z, thick), (near, front, z + 25, thick * 0.8)]))
    return partial(_paint_arms, arms=joined(*arms))


def _sample_raised_arms(rng: Rng, sides: Sequence[int]) -> Painter:
    """Upper arms beside neck and head, from the shoulders on."""
    arms = []
    for side in sides:
        thick, lean, ahead = float(rng.uniform(34, 44)), float(rng.uniform(-30, 25)), float(rng.uniform(-30, 10))
        shoulder, elbow = (side * 170, 6, 124, thick), (side * (172 + lean), 6 + ahead, 300, 0.75 * thick)
        arms.append(path([shoulder, elbow]))
    return partial(_paint_arms, arms=joined(*arms))


def _paint_arms(canvas: Canvas, *, arms: Tubes) -> None:
    patient = canvas.thorax.patient
    for share_of_radius, hu in (
        (1.0, patient.fat_hu),
        (0.85, patient.muscle_hu),
        (0.27, patient.cortex_hu * 0.7),
        (0.14, patient.marrow_hu),
    ):
        canvas.tubes(arms.resized(share_of_radius), hu)


def _sample_bag(rng: Rng, thorax: Thorax) -> Painter:
    """A bag of fluid, a gel cushion or a folded sheet, laid on or beside the patient: any density, any size."""
    radii = rng.uniform((25, 10, 25), (85, 30, 80)).astype(np.float32)
    x, z = float(rng.uniform(-110, 110)), float(rng.uniform(-120, 60))
    y = thorax.skin_before() * np.sqrt(max(0.05, 1 - (x / 175) ** 2)) - float(radii[1])
    fill = float(rng.uniform(-25, 60)) if rng.random() < 0.65 else float(rng.uniform(-800, -25))
    return partial(_paint_bag, centre=np.array([x, y, z], dtype=np.float32), radii=radii, fill=fill)


def _paint_bag(canvas: Canvas, *, centre: Floats, radii: Floats, fill: float) -> None:
    _, part = canvas.around(centre, float(radii.max()) + 4)
    fraction = soft(ellipsoid(part, centre, radii), canvas.grid.edge) * np.clip((-300 - part.hu) / 600, 0, 1)
    part.paint(fraction, fill)


def _metal(rng: Rng, thorax: Thorax, radius: float) -> Tubes:
    """Electrodes with their leads, a zip, a necklace, the wires of a brassiere, or a buckle."""
    kind = int(rng.integers(0, 5))
    if kind == 0:
        spots = [(float(rng.uniform(-95, 95)), float(rng.uniform(-60, 70))) for _ in range(int(rng.integers(3, 6)))]
        pads = [_on_skin(thorax, [(x, z), (x + 7, z)], radius=2 * radius, gap=2) for x, z in spots]
        leads = [_on_skin(thorax, [(x, z), (0.5 * x, z - 30), (0.2 * x + 10, -90)], radius=0.8 * radius, gap=5) for x, z in spots]
        return joined(*pads, *leads)
    if kind == 1:
        return _on_skin(thorax, [(float(rng.normal(0, 3)), float(z)) for z in np.linspace(90, -100, 9)], radius=1.2 * radius, gap=6)
    if kind == 2:
        turn = np.linspace(-1.4, 1.4, 9)
        return _on_skin(thorax, [(80 * float(np.sin(a)), 84 - 36 * float(np.cos(a)) ** 2) for a in turn], radius=1.2 * radius, gap=2)
    if kind == 3:
        x, z, half = (float(rng.uniform(low, high)) for low, high in ((-70, 70), (-110, 60), (8, 24)))
        return _on_skin(thorax, [(x - half, z), (x + half, z)], radius=float(rng.uniform(2, 4)) * radius, gap=5)
    turn = np.linspace(-1.3, 1.3, 7)
    cups = [[(side * 58 + 44 * float(np.sin(a)), -44 - 26 * float(np.cos(a))) for a in turn] for side in (-1, 1)]
    return joined(*(_on_skin(thorax, cup, radius=radius, gap=4) for cup in cups))


def _on_skin(thorax: Thorax, route: Sequence[tuple[float, float]], *, radius: float, gap: float) -> Tubes:
    """A tube through (x, z) stations, as far in front of the skin as `gap`."""
    x, z = np.array(route, dtype=np.float32).T
    depth = np.linspace(-260, 0, 261, dtype=np.float32)
    outside = thorax.body(x[:, None], depth[None, :], z[:, None]) > gap
    front = depth[np.argmin(outside, axis=1)]
    return path([(float(a), float(b), float(c), radius) for a, b, c in zip(x, front, z, strict=True)])


def _paint_table(canvas: Canvas, *, drop: float, hollow: float, foam: float, shell: float, thick: float) -> None:
    """A hollowed foam mattress on a carbon shell, square to the scanner, not to the patient; only where there is air."""
    u, v, _ = canvas.grid.axes
    back = canvas.thorax.skin_behind() * canvas.grid.scale[1] + drop
    surface = back - np.float32(hollow) * np.minimum(u, 190.0) ** 2 * np.float32(0.5)
    edge = canvas.grid.spacing[1]
    behind = int(np.searchsorted(v, surface.min() - edge))
    box = (slice(0, len(u)), slice(behind, len(v)), slice(0, canvas.grid.shape[2]))
    below = v[None, behind:] - surface[:, None]
    air = np.clip((-400 - canvas.hu[box]) / 600, 0, 1)
    wide = soft((np.abs(u) - 205)[:, None], edge)
    mattress = soft(np.maximum(-below, below - np.float32(thick)), edge) * wide
    canvas.paint(mattress[:, :, None] * air, foam, box)
    plates = np.minimum(np.abs(below - thick - 1.5) - 1.2, np.abs(below - thick - 38) - 1.2)
    canvas.paint((soft(plates, edge) * wide)[:, :, None] * air, shell, box)


def _paint_cloth(canvas: Canvas, *, rough: Field, fill: float, gap: float, thick: float) -> None:
    """A blanket over the chest, folded as it falls."""
    box = canvas.grid.box((-200, -260, -400), (200, 10, 400))
    part = canvas.within(box)
    x, y, z = part.grid.coordinates
    away = part.thorax.body(x, y, z) - np.float32(gap) - 5 * rough.on(part.grid)
    fraction = soft(np.abs(away) - np.float32(thick), canvas.grid.edge) * np.clip((-400 - part.hu) / 600, 0, 1)
    part.paint(fraction, fill)
