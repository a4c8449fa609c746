"""Atlases by hand, what moves with the body, and that no mask but training's is in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from thoracle.cohort.manifest import Cohort, CohortEntry
from thoracle.cohort.reports import Report
from thoracle.ct.chest.input_box import InputBox
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.errors import InputError
from thoracle.evaluation.explanation.atlas import (
    BODY_ATLAS,
    COMMONEST_SLICE,
    GRID_ATLAS,
    Atlases,
    build_atlases,
    cached_atlases,
    fingerprint,
    training_entries,
)
from thoracle.types import ABNORMALITIES

CONFIG = PreprocessConfig(spacing=(1.0, 1.0, 1.0), size=(16, 16, 16))
BOX = InputBox(low=(0.25, 0.25, 0.25), high=(0.75, 0.75, 0.75), encloses="lungs", cut=())
NODULE, EFFUSION = ABNORMALITIES.index("Lung nodule"), ABNORMALITIES.index("Pleural effusion")
GRID = (8, 8, 8)


def moved(box: InputBox, cells: Sequence[int]) -> InputBox:
    low, high = (tuple(end + cell / 16 for end, cell in zip(ends, cells, strict=True)) for ends in (box.low, box.high))
    return replace(box, low=low, high=high)


def entry(name: str, *, split: str = "train", box: InputBox | None = BOX) -> CohortEntry:
    return CohortEntry(
        volume=name, scan=name, patient=name, split=split, source_sha256="", cache="", cache_sha256="",
        report=Report(findings="", impression=""), labels=(0,) * 18, box=box,
    )  # fmt: skip


def mask(folder: Path, name: str, cells: dict[int, tuple[slice, slice, slice]]) -> Path:
    """Cells of each abnormality along z, x and y; the input is the scan."""
    voxels = np.zeros((16, 16, 16), np.int32)
    for label, (z, x, y) in cells.items():
        voxels[x, y, z] |= 1 << label
    nib.save(nib.Nifti1Image(voxels, np.diag([-1.0, -1.0, 1.0, 1.0])), folder / f"{name}.nii.gz")
    return folder / f"{name}.nii.gz"


def built(entries: Sequence[CohortEntry], masks: dict[str, Path]) -> Atlases:
    return build_atlases(entries, masks, preprocess=CONFIG, grid=GRID)


def test_atlases_by_hand(tmp_path: Path) -> None:
    """A nodule in two of three scans, one of them of a patch's half; an effusion in one."""
    corner = (slice(8, 10), slice(4, 6), slice(6, 8))
    masks = {
        "a": mask(tmp_path, "a", {NODULE: corner}),
        "b": mask(tmp_path, "b", {NODULE: (slice(8, 9), *corner[1:]), EFFUSION: (slice(0, 2), *corner[1:])}),
        "c": mask(tmp_path, "c", {}),
    }
    atlases = built([entry(name) for name in masks], masks)
    assert atlases.scans_K[[NODULE, EFFUSION]].tolist() == [2, 1]
    assert atlases.grid_KTHW[NODULE, 4, 2, 3] == pytest.approx((1 + 0.5) / 2)
    assert atlases.grid_KTHW[NODULE].sum() == pytest.approx(0.75)
    maps = atlases.maps(NODULE, BOX)
    # With margins the box is the input: the frame's 48 cells divide it, and the way there and back changes nothing.
    np.testing.assert_allclose(maps[BODY_ATLAS], maps[GRID_ATLAS], atol=1e-12)
    np.testing.assert_allclose(maps[COMMONEST_SLICE][:, 0, 0], [0, 0, 0, 0, 1, 0, 0, 0])
    np.testing.assert_allclose(atlases.maps(EFFUSION, BOX)[COMMONEST_SLICE][:, 5, 5], [1, 0, 0, 0, 0, 0, 0, 0])
    assert not atlases.maps(0, BOX)[GRID_ATLAS].any(), "a finding that no training mask has"


def test_a_shifted_mask_gives_the_same_frame_and_a_shifted_atlas(tmp_path: Path) -> None:
    cells, shift = (slice(6, 8), slice(8, 10), slice(6, 8)), (2, -2, 2)
    masks = {
        "a": mask(tmp_path, "a", {NODULE: cells}),
        "b": mask(tmp_path, "b", {NODULE: tuple(slice(c.start + s, c.stop + s) for c, s in zip(cells, shift, strict=True))}),
    }
    plain, shifted = built([entry("a")], masks), built([entry("b", box=moved(BOX, shift))], masks)
    inner = (slice(None), *(slice(12, 36),) * 3)  # the box alone: of a moved one some margin lies outside the input
    np.testing.assert_allclose(plain.frame_KFFF[inner], shifted.frame_KFFF[inner], atol=1e-9)
    # Where the reader's body lies two voxels on, the atlas of the body says so, and that of the grid cannot.
    maps = plain.maps(NODULE, moved(BOX, shift))
    assert np.unravel_index(maps[BODY_ATLAS].argmax(), GRID) == (4, 3, 4)
    assert np.unravel_index(maps[GRID_ATLAS].argmax(), GRID) == (3, 4, 3)
    both = built([entry("a"), entry("b", box=moved(BOX, shift))], masks)
    assert both.frame_KFFF[NODULE].max() == pytest.approx(1.0), "two bodies, one place"
    assert both.grid_KTHW[NODULE].max() == pytest.approx(0.5), "two places of the grid"


def test_order_does_not_matter_and_scans_without_lungs_are_in_the_grid_alone(tmp_path: Path) -> None:
    cells = (slice(6, 9), slice(8, 11), slice(5, 8))
    masks = {name: mask(tmp_path, name, {NODULE: (slice(n, n + 3), *cells[1:])}) for n, name in enumerate("abc")}
    entries = [entry("a"), entry("b", box=moved(BOX, (1, 0, 2))), entry("c", box=None)]
    forward, backward = built(entries, masks), built(entries[::-1], masks)
    for name in ("scans_K", "grid_KTHW", "frame_KFFF", "slices_KT"):
        np.testing.assert_allclose(getattr(forward, name), getattr(backward, name), atol=1e-12)
    np.testing.assert_allclose(forward.frame_KFFF, built(entries[:2], masks).frame_KFFF)
    maps = forward.maps(NODULE, None)
    assert maps[BODY_ATLAS] is maps[GRID_ATLAS]
    body = InputBox(low=(0, 0, 0), high=(1, 1, 1), encloses="body", cut=())
    maps = forward.maps(NODULE, body)
    assert maps[BODY_ATLAS] is maps[GRID_ATLAS]


def test_no_mask_but_those_of_training_enters(tmp_path: Path) -> None:
    cells = (slice(6, 8), slice(8, 10), slice(6, 8))
    entries = [entry("a"), entry("d", split="dev"), entry("v", split="valid"), entry("t", split="test"), entry("unmasked")]
    masks = {name: mask(tmp_path, name, {NODULE: cells}) for name in "advt"}
    cohort = Cohort(folder=tmp_path, preprocess=CONFIG, entries=tuple(entries))
    training = training_entries(cohort, masks)
    assert [item.volume for item in training] == ["a"]
    atlases, known = built(training, masks), fingerprint(training, masks)
    for name in "dvt":
        masks[name] = mask(tmp_path, name, {EFFUSION: (slice(0, 16),) * 3})
    again = built(training_entries(cohort, masks), masks)
    np.testing.assert_array_equal(again.grid_KTHW, atlases.grid_KTHW)
    np.testing.assert_array_equal(again.frame_KFFF, atlases.frame_KFFF)
    assert fingerprint(training_entries(cohort, masks), masks) == known
    masks["a"] = mask(tmp_path, "a", {EFFUSION: cells})
    assert fingerprint(training, masks) != known
    with pytest.raises(InputError, match="no training volume has a mask"):
        training_entries(replace(cohort, entries=tuple(entries[1:])), masks)


def test_atlases_are_read_again_and_built_anew_for_anything_else(tmp_path: Path) -> None:
    cells, path, built_counts = (slice(6, 8), slice(8, 10), slice(6, 8)), tmp_path / "atlases", []
    masks = {"a": mask(tmp_path, "a", {NODULE: cells})}

    def cached(grid: tuple[int, int, int] = GRID, preprocess: PreprocessConfig = CONFIG) -> Atlases:
        return cached_atlases(
            path, [entry("a")], masks, preprocess=preprocess, grid=grid, progress=lambda count, of: built_counts.append(count)
        )

    first, again = cached(), cached()
    assert len(built_counts) == 1, "the second was read"
    for name, array in vars(first).items():
        np.testing.assert_array_equal(getattr(again, name), array)
    assert cached(grid=(4, 4, 4)).grid == (4, 4, 4)
    assert cached().grid == GRID
    cached(preprocess=replace(CONFIG, spacing=(2.0, 1.0, 1.0)))
    assert len(built_counts) == 4
    masks["a"] = mask(tmp_path, "a", {EFFUSION: cells})
    assert cached().scans_K[[NODULE, EFFUSION]].tolist() == [0, 1], "a mask that changed"
    for damage in (path.read_bytes()[:-100], b"nothing"):
        path.write_bytes(damage)
        assert cached().scans_K[EFFUSION] == 1
    assert len(built_counts) == 7
