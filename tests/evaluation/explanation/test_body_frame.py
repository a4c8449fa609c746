"""The frame of the body: shares of volume by hand, and what moves with a box."""

from __future__ import annotations

import numpy as np
import pytest

from thoracle.ct.chest.input_box import InputBox
from thoracle.evaluation.explanation.body_frame import CELLS, coverage, from_frame, to_frames

MIDDLE = InputBox(low=(0.25, 0.25, 0.25), high=(0.75, 0.75, 0.75), encloses="lungs", cut=())  # with its margin: the whole input


def to_frame(mask: np.ndarray, box: InputBox) -> np.ndarray:
    (frame,) = to_frames(mask.astype(np.int64), [0], box)
    return frame


def test_each_bit_of_a_mask_is_a_mask_of_its_own() -> None:
    masks = np.random.default_rng(0).random((3, 10, 12, 14)) < 0.05
    masks[1] = False
    masks[0, :4] = False
    box = InputBox(low=(0.21, 0.17, 0.3), high=(0.83, 0.78, 0.72), encloses="lungs", cut=())
    together = to_frames(masks[0] * 1 + masks[1] * 4 + masks[2] * 2**17, [0, 2, 17], box)
    for frame, mask in zip(together, masks, strict=True):
        np.testing.assert_allclose(frame, to_frame(mask, box), atol=1e-12)


def test_a_frame_as_large_as_the_input_takes_its_cells_as_they_are() -> None:
    mask = np.random.default_rng(0).random((CELLS, CELLS // 2, CELLS)) < 0.1
    np.testing.assert_allclose(to_frame(mask, MIDDLE), mask.repeat(2, axis=1), atol=1e-12)
    np.testing.assert_allclose(from_frame(to_frame(mask, MIDDLE), MIDDLE, mask.shape), mask, atol=1e-12)
    np.testing.assert_allclose(coverage(MIDDLE), 1)


def test_shares_by_hand() -> None:
    """Two cells along each axis: the frame's 48 cells lie between -0.25 and 0.75 of z, so that cell 12 begins at the input's edge."""
    box = InputBox(low=(0.0, 0.25, 0.25), high=(0.5, 0.75, 0.75), encloses="lungs", cut=())
    mask = np.zeros((2, 2, 2), dtype=bool)
    mask[1] = True
    frame = to_frame(mask, box)
    assert np.flatnonzero(frame.any(axis=(1, 2))).tolist() == list(range(36, 48))  # 0.5 to 0.75
    np.testing.assert_allclose(frame[36:], 1)
    covered = coverage(box)
    np.testing.assert_allclose(covered[:12], 0)
    np.testing.assert_allclose(covered[12:], 1)
    grid = from_frame(frame, box, (4, 1, 1))
    np.testing.assert_allclose(grid[:, 0, 0], [0, 0, 1, 0])  # the frame ends at 0.75
    np.testing.assert_allclose(to_frame(np.zeros((2, 2, 2)), box), 0)


def test_volume_is_kept() -> None:
    """A cube between cells, in a box of other proportions: its share of the frame times the frame's volume is its own."""
    mask = np.zeros((10, 12, 14))
    mask[3:5, 4:9, 6:7] = 1
    box = InputBox(low=(0.21, 0.17, 0.3), high=(0.83, 0.78, 0.72), encloses="lungs", cut=())
    volume = np.prod(2 * (np.array(box.high) - box.low))
    assert to_frame(mask, box).mean() * volume == pytest.approx(mask.mean())


def test_what_moves_with_its_box_is_the_same_in_the_frame_and_moves_back() -> None:
    mask = np.zeros((16, 20, 20))
    mask[5:7, 8:11, 6:12] = 1
    box = InputBox(low=(0.25, 0.2, 0.25), high=(0.75, 0.7, 0.75), encloses="lungs", cut=())
    cells = (2, -1, 3)
    moved = np.roll(mask, cells, axis=(0, 1, 2))
    shifts = [cell / n for cell, n in zip(cells, mask.shape, strict=True)]
    low, high = (tuple(end + shift for end, shift in zip(ends, shifts, strict=True)) for ends in (box.low, box.high))
    other = InputBox(low=low, high=high, encloses="lungs", cut=())  # type: ignore[arg-type]
    np.testing.assert_allclose(to_frame(moved, other), to_frame(mask, box), atol=1e-9)
    atlas = to_frame(mask, box)
    np.testing.assert_allclose(
        from_frame(atlas, other, mask.shape), np.roll(from_frame(atlas, box, mask.shape), cells, axis=(0, 1, 2)), atol=1e-9
    )
