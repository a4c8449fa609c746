"""One scan before it is scanned: the person, the findings and what lies around, painted on any grid.

Everything random is drawn in millimetres when the scene is made. Painting is a pure function of scene and grid, so that a scene can be
painted in slabs, coarse or fine, and is the same chest.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thoracle.phantom.anatomy.lungs import lung_share, paint_lungs, paint_trees
from thoracle.phantom.anatomy.patient import Patient, Rng
from thoracle.phantom.anatomy.skeleton import paint_skeleton
from thoracle.phantom.anatomy.soft_tissue import paint_abdomen, paint_body, paint_cavity, paint_heart, paint_vessels
from thoracle.phantom.anatomy.thorax import Thorax
from thoracle.phantom.anatomy.trees import Trees, grow, sample_points
from thoracle.phantom.findings import SAMPLERS, FindingGenerator, GrowthSite, enlarged_heart
from thoracle.phantom.imaging.canvas import Canvas
from thoracle.phantom.imaging.external_objects import sample_outside
from thoracle.phantom.imaging.grid import Field, Floats, VoxelGrid
from thoracle.phantom.imaging.mimics import sample_inside

#: Voxels painted at once: some hundred megabytes.
_SLAB = 6_000_000


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """Hold a chest with all objects in and around it. `findings` are in the order of painting."""

    thorax: Thorax
    trees: Trees
    findings: tuple[FindingGenerator, ...]
    lookalikes: tuple[Callable[[Canvas], None], ...]
    surroundings: tuple[Callable[[Canvas], None], ...]
    uneven: Field
    slow: Field
    stomach: tuple[float, float, float]


def sample_scene(
    patient: Patient, abnormalities: Collection[str], *, anatomy: Rng, visit: Rng, finding: Callable[[str], Rng], finest: float
) -> Scene:
    """Sample a scene with exactly these abnormalities.

    Args:
        patient: whose chest.
        abnormalities: names from `ABNORMALITIES`.
        anatomy: randomness of the body that is no finding; drawn alike whatever the abnormalities.
        visit: randomness of the day: what lies around, what was eaten.
        finding: randomness of one abnormality, by name.
        finest: mm that the scanner resolves.
    """
    large = "Cardiomegaly" in abnormalities
    thorax = Thorax(patient=patient, heart=enlarged_heart(finding("Cardiomegaly")) if large else patient.heart)
    points = sample_points(anatomy, thorax)
    site = GrowthSite(thorax=thorax, points=points, trees=grow(anatomy, points), finest=finest)
    return Scene(
        thorax=thorax,
        trees=site.trees,
        findings=tuple(sampler(finding(name), site) for name, sampler in SAMPLERS.items() if name in abnormalities),
        lookalikes=tuple(sample_inside(anatomy)),
        surroundings=tuple(sample_outside(visit, thorax, finest=finest)),
        uneven=Field.sample(anatomy, 9.0),
        slow=Field.sample(anatomy, 55.0),
        stomach=_sample_stomach(visit),
    )


def paint(scene: Scene, grid: VoxelGrid) -> tuple[Floats, NDArray[np.uint32]]:
    """Paint Hounsfield units (nx, ny, nz) without noise, and the mask: bit i for the i-th abnormality."""
    hu, mask = np.empty(grid.shape, dtype=np.float32), np.empty(grid.shape, dtype=np.uint32)
    for box in grid.slabs(_SLAB):
        # A slice more on either side: a tube's points give a share to the slice below and the one above them.
        first, last = max(0, box[2].start - 1), min(grid.shape[2], box[2].stop + 1)
        slab = _blank(scene, grid.within((*box[:2], slice(first, last))))
        # The body in the box that holds it, which spares half the voxels; then what lies around.
        box_3d = slab.grid.box(*scene.thorax.bounds)
        body = _blank(scene, slab.grid.within(box_3d))
        _paint_body(scene, body)
        for painter in (*scene.lookalikes, *(finding.paint for finding in scene.findings)):
            painter(body)
        slab.hu[box_3d], slab.mask[box_3d] = body.hu, body.mask
        for painter in scene.surroundings:
            painter(slab)
        inner = slice(box[2].start - first, box[2].stop - first)
        hu[box], mask[box] = slab.hu[:, :, inner], slab.mask[:, :, inner]
    return hu, mask


def true_lungs(scene: Scene, grid: VoxelGrid) -> NDArray[np.bool_]:
    """Return the voxels (nx, ny, nz) of lung, air-filled or not; fluid beside it is none. Paints the whole grid at once."""
    canvas = _blank(scene, grid)
    _paint_body(scene, canvas)
    for finding in scene.findings:
        finding.paint(canvas)
    return np.asarray(canvas.hull > 0.5)


def _blank(scene: Scene, grid: VoxelGrid) -> Canvas:
    """Air, and no lung in it yet."""
    hull, lung = (np.zeros(grid.shape, dtype=np.float32) for _ in range(2))
    hu = np.full(grid.shape, -1000, dtype=np.float32)
    return Canvas(grid=grid, thorax=scene.thorax, hu=hu, hull=hull, lung=lung, mask=np.zeros(grid.shape, dtype=np.uint32))


def _paint_body(scene: Scene, canvas: Canvas) -> None:
    uneven = scene.uneven.on(canvas.grid)
    x, y, z = canvas.grid.coordinates
    cavity = scene.thorax.cavity(x, y, z)
    paint_body(canvas, uneven, scene.thorax.body(x, y, z))
    paint_cavity(canvas, cavity, uneven)
    paint_abdomen(canvas, cavity, uneven, scene.stomach)
    paint_heart(canvas)
    canvas.hull[...] = lung_share(canvas, cavity)
    canvas.lung[...] = canvas.hull
    paint_lungs(canvas, uneven, scene.slow.on(canvas.grid))
    paint_skeleton(canvas, cavity, uneven)
    paint_vessels(canvas)
    paint_trees(canvas, scene.trees)


def _sample_stomach(rng: Rng) -> tuple[float, float, float]:
    """Fluid's HU (food, water, now and then oral contrast), its level, the stomach's size."""
    fluid = float(rng.normal(30, 20)) if rng.random() < 0.88 else float(rng.uniform(100, 400))
    return fluid, float(rng.uniform(-42, 20)), float(rng.uniform(0.45, 1.2))
