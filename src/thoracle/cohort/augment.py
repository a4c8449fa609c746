"""Seeded changes to a model's input that no report speaks of: turn, zoom, shift in plane, noise; knows no cohort.

Nothing is mirrored: reports say left and right.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from thoracle.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How far a volume is changed; each change happens with `probability`. The defaults are MedFinder's, but for noise in our units.

    Attributes:
        probability: of each of the four.
        rotation: radians to either side, about the body's axis.
        zoom: share of size, smaller and larger.
        shift: share of the field of view to each side, in plane.
        noise: standard deviation, units of 1000 HU.
    """

    probability: float = 0.3
    rotation: float = 0.2
    zoom: float = 0.1
    shift: float = 0.05
    noise: float = 0.02

    def __post_init__(self) -> None:
        amounts = (self.probability, self.rotation, self.zoom, self.shift, self.noise)
        if not all(0 <= amount < math.inf for amount in amounts) or self.probability > 1 or self.zoom >= 1:
            raise InputError("an augmentation's amounts must not be negative, probability 1 at most, zoom less than 1", cure="Correct it.")

    def __call__(self, volume_ZHW: Tensor, *, generator: torch.Generator, pad: float) -> Tensor:
        """A changed copy of a volume, the same for the same state of the generator.

        Args:
            volume_ZHW: (Z, H, W) float32.
            generator: on the CPU.
            pad: what comes in from outside.
        """
        angle = self._draw(generator) * self.rotation
        size = 1 + self._draw(generator) * self.zoom
        moves = self._draw(generator) * self.shift, self._draw(generator) * self.shift
        noise = self._draw(generator) * self.noise
        changed = volume_ZHW
        if angle or size != 1 or any(moves):
            changed = _resampled(volume_ZHW, angle=angle, size=size, moves=moves, pad=pad)
        if noise:
            changed = changed + abs(noise) * torch.randn(changed.shape, generator=generator)
        return changed

    def _draw(self, generator: torch.Generator) -> float:
        """Between -1 and 1, or 0; always two numbers of the generator."""
        chance, amount = torch.rand(2, generator=generator).tolist()
        return 2 * amount - 1 if chance < self.probability else 0.0


def _resampled(volume_ZHW: Tensor, *, angle: float, size: float, moves: tuple[float, float], pad: float) -> Tensor:
    """Bilinear, slices as channels of one picture."""
    height, width = volume_ZHW.shape[1:]
    sine, cosine = math.sin(angle) / size, math.cos(angle) / size
    # Coordinates run from -1 to 1 along either axis, so that a turn of millimetres needs the ratio of the sides.
    matrix = torch.tensor([[cosine, -sine * height / width, 2 * moves[0]], [sine * width / height, cosine, 2 * moves[1]]])
    grid = functional.affine_grid(matrix[None], [1, 1, height, width], align_corners=False)
    return functional.grid_sample(volume_ZHW[None] - pad, grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0] + pad
