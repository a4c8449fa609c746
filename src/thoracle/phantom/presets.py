"""Sizes of phantoms that ship: tiny for demos and tests, small for laptops, full as CT-RATE's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Configure how finely a cohort is scanned.

    Attributes:
        matrix: rows and columns.
        pixel: about the mean pixel size, mm, what the scanner resolves; an aligned phantom's field of view varies around `matrix * pixel`.
        slices: mean number of slices of an aligned phantom.
        step: distance of slices, mm.
        noise: standard deviation of a medium dose and soft kernel, HU.
        twice: share of scans with a second reconstruction.
    """

    matrix: int
    pixel: float
    slices: int
    step: float
    noise: float
    twice: float


PRESETS: Final[dict[str, Preset]] = {
    "tiny": Preset(matrix=96, pixel=4.0, slices=64, step=4.0, noise=9.0, twice=0.15),
    "small": Preset(matrix=192, pixel=2.0, slices=128, step=2.0, noise=13.0, twice=0.5),
    "full": Preset(matrix=512, pixel=0.72, slices=300, step=1.0, noise=18.0, twice=0.95),
}
