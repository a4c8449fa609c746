"""Average training masks: where each finding usually lies, which a map of one scan must beat.

Shapes: K abnormalities; T h w grid over a model's input; F cells of the body's frame along an axis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from hashlib import sha256 as sha256_of
from pathlib import Path
from typing import Final

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from thoracle.cohort.manifest import Cohort, CohortEntry
from thoracle.ct.chest.input_box import InputBox
from thoracle.ct.preprocess import Preprocessing
from thoracle.errors import InputError
from thoracle.evaluation.explanation.body_frame import CELLS, coverage, from_frame, to_frames
from thoracle.evaluation.explanation.masks import labels_in, read_mask, share_of_patches
from thoracle.execution.prefetch import prefetch
from thoracle.files.atomic import sha256, write_atomic
from thoracle.types import ABNORMALITIES, FloatArray

GRID_ATLAS: Final = "atlas, scan's grid"
BODY_ATLAS: Final = "atlas, body's frame"
COMMONEST_SLICE: Final = "commonest slice"
#: In the folder of an evaluation.
ATLASES_FILE: Final = "atlases.safetensors"


@dataclass(frozen=True, kw_only=True, eq=False)
class Atlases:
    """Hold where each finding lay in training scans that have it.

    Attributes:
        scans_K: how many have it.
        grid_KTHW: mean fraction of each patch that it takes.
        frame_KFFF: the same in the frame of the lungs' box, over those scans that reach there.
        slices_KT: fraction of the scans in which it lies in a slice of patches.
    """

    scans_K: FloatArray
    grid_KTHW: FloatArray
    frame_KFFF: FloatArray
    slices_KT: FloatArray

    @property
    def grid(self) -> tuple[int, int, int]:
        """Return the patches along z, x and y."""
        _, T, h, w = self.grid_KTHW.shape
        return T, h, w

    def maps(self, label: int, box: InputBox | None) -> dict[str, FloatArray]:
        """Return maps of a finding for a scan; without a box of lungs the grid's atlas stands in for the frame's."""
        atlas_THW, slices_T = self.grid_KTHW[label], self.slices_KT[label]
        body_THW = atlas_THW if (lungs := _lungs(box)) is None else from_frame(self.frame_KFFF[label], lungs, self.grid)
        return {
            GRID_ATLAS: atlas_THW,
            BODY_ATLAS: body_THW,
            COMMONEST_SLICE: np.broadcast_to(slices_T[:, None, None], self.grid),
        }


def training_entries(cohort: Cohort, masks: Mapping[str, Path]) -> list[CohortEntry]:
    """Select the volumes of split train that have a mask: no other mask may enter an atlas.

    Raises:
        InputError: there is none.
    """
    entries = [entry for entry in cohort.entries if entry.split == "train" and entry.volume in masks]
    if not entries:
        hint = "Give the phantoms that the cohort was prepared from, their training volumes among them."
        raise InputError("no training volume has a mask, from which the atlas is made", hint=hint, source=cohort.folder)
    return entries


def fingerprint(training: Sequence[CohortEntry], masks: Mapping[str, Path]) -> str:
    """Hash what atlases are made of."""
    lines = (f"{entry.volume} {entry.box}{entry.foreground} {sha256(masks[entry.volume])}" for entry in training)
    return sha256_of("\n".join(lines).encode()).hexdigest()


def build_atlases(
    training: Sequence[CohortEntry],
    masks: Mapping[str, Path],
    *,
    preprocess: Preprocessing,
    grid: tuple[int, int, int],
    progress: Callable[[int, int], None] = lambda count, of: None,
) -> Atlases:
    """Average the masks of training volumes, which `training_entries` selects.

    Raises:
        ScanUnreadable: a mask that is none.
    """
    labels = len(ABNORMALITIES)
    scans_K, slices_KT, grid_KTHW = np.zeros(labels), np.zeros((labels, grid[0])), np.zeros((labels, *grid))
    sums_KFFF, covered_KFFF = (np.zeros((labels, CELLS, CELLS, CELLS)) for _ in range(2))
    read = prefetch(lambda entry: read_mask(masks[entry.volume], preprocess, foreground=entry.foreground).bits_ZXY, training)
    for count, (entry, mask_ZXY) in enumerate(read, start=1):
        shares_KTHW, present = share_of_patches(mask_ZXY, grid), labels_in(mask_ZXY)
        scans_K[present] += 1
        grid_KTHW[present] += shares_KTHW[present]
        slices_KT[present] += shares_KTHW[present].any(axis=(2, 3))
        if (lungs := _lungs(entry.box)) is not None:
            sums_KFFF[present] += to_frames(mask_ZXY, present, lungs)
            covered_KFFF[present] += coverage(lungs)
        progress(count, len(training))
    scans = np.maximum(scans_K, 1)
    return Atlases(
        scans_K=scans_K,
        grid_KTHW=grid_KTHW / scans[:, None, None, None],
        frame_KFFF=sums_KFFF / np.maximum(covered_KFFF, 1),
        slices_KT=slices_KT / scans[:, None],
    )


def cached_atlases(
    path: Path,
    training: Sequence[CohortEntry],
    masks: Mapping[str, Path],
    *,
    preprocess: Preprocessing,
    grid: tuple[int, int, int],
    progress: Callable[[int, int], None] = lambda count, of: None,
) -> Atlases:
    """Read atlases from a file, or build them and write it where it is missing, damaged, or of anything else.

    Args:
        path: a safetensors file.
        training, masks, preprocess, grid, progress: as for `build_atlases`.

    Raises:
        ScanUnreadable: a mask that is none.
    """
    made_of = f"{fingerprint(training, masks)} {grid} {preprocess}"
    with suppress(OSError, SafetensorError), safe_open(path, framework="numpy") as file:
        if (file.metadata() or {}).get("made_of") == made_of:
            return Atlases(**{field.name: file.get_tensor(field.name) for field in fields(Atlases)})
    atlases = build_atlases(training, masks, preprocess=preprocess, grid=grid, progress=progress)
    write_atomic(path, save({name: np.ascontiguousarray(array) for name, array in vars(atlases).items()}, {"made_of": made_of}))
    return atlases


def _lungs(box: InputBox | None) -> InputBox | None:
    return box if box is not None and box.encloses == "lungs" else None
