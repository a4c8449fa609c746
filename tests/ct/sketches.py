"""Sketch scans of ellipsoids."""

from __future__ import annotations

import numpy as np

from thoracle.ct.volume import HeaderTags, HounsfieldSource, Provenance, Volume

PROVENANCE = Provenance(
    sha256="0" * 64,
    format="test",
    hounsfield=HounsfieldSource(slope=1.0, intercept=0.0, source="stored", evidence="test"),
    geometry="test",
)
#: Ellipsoids (centre, radii, HU) in mm from the centre of the volume; later ones cover earlier ones. THROUGH goes through all slices.
THROUGH = 1e9
BODY = ((0, 0, 0), (160, 110, THROUGH), 40)


def volume(array, spacing, **tags):
    affine = np.diag([*spacing, 1.0])
    return Volume(array=array, spacing=tuple(spacing), affine=affine, provenance=PROVENANCE, tags=HeaderTags(**tags))


def sketch(organs, extent, *, step=4.0, noise=15):
    axes = [np.arange(-size / 2, size / 2, step) for size in extent]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    hu = np.full([len(axis) for axis in axes], -1000.0)
    for (cx, cy, cz), (rx, ry, rz), value in organs:
        hu[((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + ((z - cz) / rz) ** 2 < 1] = value
    hu += np.random.default_rng(0).normal(0, noise, hu.shape)
    return volume(hu.clip(-1024, 3071).astype(np.int16), (step,) * 3)
