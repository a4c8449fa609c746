"""Tell where in a model's input the box of the chest lies, for grids over that input to be compared between patients."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal, cast

import numpy as np

from thoracle.ct.chest.chest_box import FACES, ChestBox
from thoracle.ct.preprocess import Preprocessing, input_affine
from thoracle.ct.recipes.orientation import ZXY, is_flipped, reorder, scan_axes
from thoracle.ct.recipes.run import foreground_box
from thoracle.ct.volume import Volume

_ENCLOSED: Final = ("lungs", "body")
_NUMBERS: Final = 6


@dataclass(frozen=True, kw_only=True)
class InputBox:
    """Hold a box in fractions of a model's input along (z, x, y): of n cells along an axis, the middle of cell i is at (i + 0.5) / n.

    Inputs of other axes are viewed so (`view_as`); `along` gives fractions along theirs.

    Attributes:
        low: bottom, right and front face; below 0 where the input was cropped.
        high: top, left and back face.
        encloses, cut: as `ChestBox` has them.
    """

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    encloses: Literal["lungs", "body"]
    cut: tuple[str, ...] = ()

    def as_text(self) -> str:
        """Write a cell of a table, which `from_text` reads."""
        return " ".join([self.encloses, *(f"{number:.4f}" for number in (*self.low, *self.high)), *self.cut])

    def along(self, axes: str) -> InputBox:
        """Return the box in fractions along the axes of an input; `low` and `high` are then of these."""
        order = [scan_axes(ZXY).index(axis) for axis in scan_axes(axes)]
        ends = [(self.low[n], self.high[n]) for n in order]
        ends = [(1 - high, 1 - low) if is_flipped(letter) else (low, high) for (low, high), letter in zip(ends, axes, strict=True)]
        (low_0, high_0), (low_1, high_1), (low_2, high_2) = ends
        return replace(self, low=(low_0, low_1, low_2), high=(high_0, high_1, high_2))

    @classmethod
    def from_text(cls, text: str) -> InputBox:
        """Read what `as_text` wrote; raises ValueError for anything else."""
        encloses, *words = text.split(" ")
        low, high = (cast("tuple[float, float, float]", tuple(map(float, words[at : at + 3]))) for at in (0, 3))
        cut = tuple(words[_NUMBERS:])
        if (
            len(words) < _NUMBERS
            or encloses not in _ENCLOSED
            or not set(cut) <= set(FACES)
            or not all(a < b for a, b in zip(low, high, strict=True))
        ):
            raise ValueError("no box")
        return cls(low=low, high=high, encloses=cast('Literal["lungs", "body"]', encloses), cut=cut)


def input_box(box: ChestBox, volume: Volume, config: Preprocessing) -> InputBox:
    """Place a box of a scan in the input that `preprocess` makes of it; raises GeometryInvalid as that."""
    to_scan = input_affine(volume.array.shape, volume.spacing, config, foreground=foreground_box(volume, config))
    size_xyz = np.array(reorder(config.size, config.axes, "LPS"))

    def fractions(corner_mm: tuple[float, float, float]) -> tuple[float, float, float]:
        scan_index = (np.asarray(corner_mm) - volume.affine[:3, 3]) / volume.spacing
        x, y, z = (((scan_index - to_scan[:3, 3]) / np.diag(to_scan)[:3] + 0.5) / size_xyz).tolist()
        return z, x, y

    return InputBox(low=fractions(box.low), high=fractions(box.high), encloses=box.encloses, cut=box.cut)
