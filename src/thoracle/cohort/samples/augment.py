"""Seeded changes to a model's input that no report speaks of: turn, zoom, shift in plane, noise.

Nothing is mirrored: reports say left and right.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional

from thoracle.config_reader import Fraction, NonNegativeFloat, Range, check_fields


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Configure how far a volume is changed; each change happens with `probability`. Defaults are MedFinder's, but for noise in HU.

    Attributes:
        probability: probability of each of the four changes.
        rotation: largest angle to either side, about the body's axis.
        zoom: largest change of size, smaller and larger, as a fraction of it.
        shift: largest shift to each side in plane, as a fraction of the field of view.
        noise: standard deviation of noise, in units of the input.
    """

    probability: Fraction = 0.3
    rotation: Annotated[float, Range(min=0, unit="radians")] = 0.2
    zoom: Annotated[float, Range(min=0, below=1)] = 0.1
    shift: NonNegativeFloat = 0.05
    noise: Annotated[float, Range(min=0, unit="1000 HU")] = 0.02

    def __post_init__(self) -> None:
        check_fields(self)

    def __call__(self, volume_ZHW: Tensor, *, generator: torch.Generator, pad: float) -> Tensor:
        """A changed copy of a volume, the same for the same state of the generator.

        Args:
            volume_ZHW: (Z, H, W) float32.
            generator: as in `batch`.
            pad: what comes in from outside.
        """
        return self.batch(volume_ZHW[None], generator=generator, pad=pad)[0]

    def batch(self, volumes_BZHW: Tensor, *, pad: float, generator: torch.Generator | None = None) -> Tensor:
        """Change copies of volumes, each in its own way, on the device that they are on.

        Args:
            volumes_BZHW: (B, Z, H, W) float32.
            pad: what comes in from outside.
            generator: on the CPU; elsewhere noise is drawn from one of the device that begins with its seed. By default torch's own, of
                the CPU for amounts and of the device for noise.
        """
        noise_generator = generator
        if generator is not None and volumes_BZHW.device.type != "cpu":
            noise_generator = torch.Generator(volumes_BZHW.device).manual_seed(generator.initial_seed())
        draws = [_Draw.of(self, generator) for _ in volumes_BZHW]
        moved = [index for index, draw in enumerate(draws) if draw.moves_voxels]
        changed = volumes_BZHW
        if moved:
            matrices = torch.tensor([draws[index].matrix(*changed.shape[2:]) for index in moved], device=changed.device)
            changed = changed.index_copy(0, torch.tensor(moved, device=changed.device), _resampled(changed[moved], matrices, pad=pad))
        for index, draw in enumerate(draws):
            if draw.noise:
                changed = changed.clone() if changed is volumes_BZHW else changed
                noise = torch.randn(changed.shape[1:], generator=noise_generator, device=changed.device)
                changed[index] += abs(draw.noise) * noise
        return changed


@dataclass(frozen=True, kw_only=True)
class _Draw:
    """What happens to one volume."""

    angle: float
    size: float
    moves: tuple[float, float]
    noise: float

    @classmethod
    def of(cls, how: Augmentation, generator: torch.Generator | None) -> _Draw:
        """Draw ten numbers of the generator."""

        def amount() -> float:
            """Draw a number between -1 and 1, or 0."""
            chance, amount = torch.rand(2, generator=generator).tolist()
            return 2 * amount - 1 if chance < how.probability else 0.0

        return cls(
            angle=amount() * how.rotation,
            size=1 + amount() * how.zoom,
            moves=(amount() * how.shift, amount() * how.shift),
            noise=amount() * how.noise,
        )

    @property
    def moves_voxels(self) -> bool:
        return bool(self.angle or self.size != 1 or any(self.moves))

    def matrix(self, height: int, width: int) -> list[list[float]]:
        """Build the affine map; coordinates run from -1 to 1 along either axis, so that a turn of millimetres needs the ratio of the
        sides.
        """
        sine, cosine = math.sin(self.angle) / self.size, math.cos(self.angle) / self.size
        return [[cosine, -sine * height / width, 2 * self.moves[0]], [sine * width / height, cosine, 2 * self.moves[1]]]


def _resampled(volumes_BZHW: Tensor, matrices_B23: Tensor, *, pad: float) -> Tensor:
    """Bilinear, slices as channels of pictures."""
    size = [len(volumes_BZHW), 1, *volumes_BZHW.shape[2:]]
    grid = functional.affine_grid(matrices_B23, size, align_corners=False)
    return functional.grid_sample(volumes_BZHW - pad, grid, mode="bilinear", padding_mode="zeros", align_corners=False) + pad
