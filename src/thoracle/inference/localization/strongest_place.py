"""Name the side and the lobe in which a map is strongest, from the box of the lungs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from thoracle.cohort.vqa.attributes import LOBES
from thoracle.ct.chest.input_box import InputBox

#: Findings that lie in lobes.
LOBAR: Final = frozenset({
    "Emphysema", "Atelectasis", "Lung nodule", "Lung opacity", "Pulmonary fibrotic sequela", "Mosaic attenuation pattern",
    "Peribronchial thickening", "Consolidation", "Bronchiectasis", "Interlobular septal thickening",
})  # fmt: skip
#: Fissures in fractions of the box (docs/decisions/0156-side-and-lobe.md): the oblique one rises from the front of the bases to this height
#: at the back, the horizontal one of the right lung lies at that height.
_OBLIQUE_BACK: Final = 0.85
_HORIZONTAL: Final = 0.5


@dataclass(frozen=True, kw_only=True)
class StrongestPlace:
    """Hold the side of the body, "right" or "left", and the lobe, one of `LOBES`, in which a map is strongest."""

    side: str
    lobe: str


def strongest_place(map_THW: NDArray[Any], box: InputBox | None) -> StrongestPlace | None:
    """Locate the highest value of a map over a model's input; None where nothing is positive, or no lungs are boxed."""
    if box is None or box.encloses != "lungs" or not map_THW.max() > 0:
        return None
    strongest = np.unravel_index(int(map_THW.argmax()), map_THW.shape)
    fractions = [(index + 0.5) / n for index, n in zip(strongest, map_THW.shape, strict=True)]
    height, left, back = (float(f - low) / (high - low) for f, low, high in zip(fractions, box.low, box.high, strict=True))
    if left > 0.5:
        return StrongestPlace(side="left", lobe=LOBES[4] if height < _OBLIQUE_BACK * back else LOBES[3])
    if height < _OBLIQUE_BACK * back:
        return StrongestPlace(side="right", lobe=LOBES[2])
    return StrongestPlace(side="right", lobe=LOBES[1] if height < _HORIZONTAL else LOBES[0])
