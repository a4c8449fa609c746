"""The scanner: vendors, fields of view, kernels, thickness and noise; makes stored volumes of a painted scene.

What is drawn here never looks at a label: neither the grid nor the noise nor a metadata field may give a finding away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from thoracle.phantom.anatomy.patient import Patient, Rng
from thoracle.phantom.imaging.field_of_view import sample_aligned_field, sample_field
from thoracle.phantom.imaging.grid import Floats, VoxelGrid
from thoracle.phantom.presets import Preset


@dataclass(frozen=True, kw_only=True)
class ScannerModel:
    """Describe a scanner model: intercept, value outside its round field, soft and sharp kernels as its files spell them."""

    manufacturer: str
    model: str
    intercept: int
    padding: int
    soft: tuple[str, str]
    sharp: tuple[str, str]
    weight: float


#: (kernel, series description) of each; the mixture of CT-RATE.
MACHINES: Final = (
    ScannerModel(
        manufacturer="Philips",
        model="iCT 256",
        intercept=-1024,
        padding=-1024,
        soft=("B", "MEDIASTEN, iDose (4)"),
        sharp=("YA", "HRCT"),
        weight=0.55,
    ),
    ScannerModel(
        manufacturer="Siemens Healthineers",
        model="SOMATOM go.All",
        intercept=-8192,
        padding=-8192,
        soft=("['Br40f', '3']", "Thorax 1,50 Br40 S3"),
        sharp=("['Br60f', '3']", "Thorax 1,50 Br60 S3"),
        weight=0.27,
    ),
    ScannerModel(manufacturer="PNMS", model="MX 16", intercept=-1024, padding=-1024, soft=("B", ""), sharp=("EA", ""), weight=0.12),
    ScannerModel(
        manufacturer="SIEMENS",
        model="SOMATOM Force",
        intercept=-1024,
        padding=-1024,
        soft=("['Bv40d', '3']", "Thorax 1,5 Bv40 M3"),
        sharp=("['Bl57d', '3']", "Lung 1,5 Bl57 M3"),
        weight=0.06,
    ),
)


@dataclass(frozen=True, kw_only=True)
class ReconstructionKernel:
    """Describe one volume of a scan. `thick`: slices of the scan in one of its own; `noise`: HU."""

    sharp: bool
    thick: float
    noise: float


@dataclass(frozen=True, kw_only=True)
class Acquisition:
    """Describe one scan. `grid` is that of the thinnest slices; `body`: the canonical origin in the scanner's frame, mm."""

    machine: ScannerModel
    grid: VoxelGrid
    body: tuple[float, float, float]
    reconstructions: tuple[ReconstructionKernel, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredVolume:
    """Hold a volume as it is stored: HU int16 (nx, ny, nz), mask uint32, spacing and origin (of the first voxel, LPS) in mm."""

    hu: NDArray[np.int16]
    mask: NDArray[np.uint32]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]


def sample_acquisition(rng: Rng, patient: Patient, preset: Preset, *, aligned: bool = False) -> Acquisition:
    """Sample machine, field of view, coverage and reconstructions; `aligned`: all lungs alike in the field."""
    machine = MACHINES[int(rng.choice(len(MACHINES), p=[m.weight for m in MACHINES]))]
    field = sample_aligned_field(rng, patient, preset) if aligned else sample_field(rng, patient)
    pixel = round(field.width / preset.matrix, 6)
    shape = (preset.matrix, preset.matrix, round(field.coverage / preset.step))
    spacing = (pixel, pixel, preset.step)
    grid = VoxelGrid(
        shape=shape,
        spacing=spacing,
        origin=tuple(round(float(m - s * (n - 1) / 2), 4) for m, s, n in zip(field.middle, spacing, shape, strict=True)),  # type: ignore[arg-type]
        scale=patient.scale,
        roll=patient.roll,
        pitch=patient.pitch,
    )
    dose = preset.noise * float(np.exp(rng.normal(0, 0.3)))
    first = bool(rng.random() < 0.5)
    kernels = [first, not first] if rng.random() < preset.twice else [first]
    thick = [1.0, float(rng.choice((1.0, 1.5, 2.0)))]
    reconstructions = tuple(
        ReconstructionKernel(sharp=sharp, thick=wide, noise=dose * (1.9 if sharp else 1.0) / wide**0.5)
        for sharp, wide in zip(kernels, thick, strict=False)
    )
    body = (*field.body, round(float(rng.uniform(-1500, 60)), 1))
    return Acquisition(machine=machine, grid=grid, body=body, reconstructions=reconstructions)


def reconstruct(
    rng: Rng, hu: Floats, mask: NDArray[np.uint32], acquisition: Acquisition, reconstruction: ReconstructionKernel
) -> StoredVolume:
    """Reconstruct one volume from a painted scene: thick slices, the kernel's blur and the kernel's noise."""
    grid = acquisition.grid
    if reconstruction.thick > 1:
        hu, mask = _thicken(hu, mask, reconstruction.thick)
    image = _in_plane(hu, -0.035 if reconstruction.sharp else 0.07)
    noise = _white(rng, image.shape)
    noise -= _in_plane(noise, 0.2) * np.float32(0.75 if reconstruction.sharp else -1.2)
    noise *= np.float32(reconstruction.noise / noise[::7, ::7, ::7].std()) * _loudness(hu)
    image += noise
    np.clip(np.rint(image, out=image), -1024, 3071, out=image)
    stored = image.astype(np.int16)
    stored[~grid.crossed] = acquisition.machine.padding
    step = grid.spacing[2] * reconstruction.thick
    x, y, z = (o + b for o, b in zip(grid.origin, acquisition.body, strict=True))
    return StoredVolume(
        hu=stored,
        mask=mask,
        spacing=(grid.spacing[0], grid.spacing[1], step),
        origin=(round(x, 4), round(y, 4), round(z + (reconstruction.thick - 1) / 2 * grid.spacing[2], 4)),
    )


def _white(rng: Rng, shape: tuple[int, ...]) -> Floats:
    """Sums of four bytes: normal enough for noise that a kernel then mixes, in a third of the time."""
    count = int(np.prod(shape))
    parts = np.frombuffer(rng.bytes(4 * count), dtype=np.uint8).reshape(4, count)
    return np.asarray((parts.sum(axis=0, dtype=np.float32) - 510).reshape(shape))


def _in_plane(image: Floats, side: float) -> Floats:
    """Three taps along x and y: `side` to each neighbour; negative sharpens."""
    middle, beside = np.float32(1 - 2 * side), np.float32(side)
    for axis in (0, 1):
        before = image
        image = before * middle
        ahead, behind = (image, before) if axis == 0 else (image.swapaxes(0, 1), before.swapaxes(0, 1))
        behind = behind * beside
        ahead[1:] += behind[:-1]
        ahead[:-1] += behind[1:]
    return image


def _loudness(hu: Floats) -> Floats:
    """Noise of each slice over the mean: more where rays cross more tissue, as at the shoulders."""
    water = np.clip((hu[::3, ::3] + 1000) / 1000, 0, 2).mean(axis=(0, 1))
    return np.asarray(np.exp(1.1 * (water / water.mean() - 1)).astype(np.float32))


def _thicken(hu: Floats, mask: NDArray[np.uint32], factor: float) -> tuple[Floats, NDArray[np.uint32]]:
    """Mean over thicker slices, and every finding that any of them holds."""
    slices = hu.shape[2]
    edges = np.arange(int(slices / factor) + 1) * factor
    low, high = np.arange(slices), np.arange(slices) + 1
    overlap = np.clip(np.minimum(high[:, None], edges[1:]) - np.maximum(low[:, None], edges[:-1]), 0, 1)
    merged = np.zeros((*mask.shape[:2], overlap.shape[1]), dtype=np.uint32)
    for old, new in zip(*np.nonzero(overlap > 0.25), strict=True):
        merged[:, :, new] |= mask[:, :, old]
    return hu @ (overlap / factor).astype(np.float32), merged
