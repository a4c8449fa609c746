"""The frame of the chest: by hand on a few cells, the mean of what is there, and the same places wherever the patient lies."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from thoracle.ct.chest.input_box import InputBox
from thoracle.models.regions.frame import frame_resampling

CPU = torch.device("cpu")


def lungs(low: tuple[float, float, float], high: tuple[float, float, float]) -> InputBox:
    return InputBox(low=low, high=high, encloses="lungs")


def test_along_one_axis_by_hand() -> None:
    """4 cells at 1/8, 3/8, 5/8, 7/8; 2 places over 1/4 to 3/4 have their middles at 3/8 and 5/8: cells 1 and 2, and back."""
    box = lungs((0.25, 0.0, 0.0), (0.75, 1.0, 1.0))
    frame = frame_resampling([box], grid=(4, 1, 1), frame=(2, 1, 1), margin=0.0, device=CPU)
    cells = torch.tensor([10.0, 20.0, 40.0, 80.0]).view(1, 4, 1, 1, 1)
    assert frame.to_frame(cells).flatten().tolist() == [20, 40]
    assert frame.to_grid(torch.tensor([1.0, 3.0]).view(1, 2, 1, 1, 1)).flatten().tolist() == [0, 1, 3, 0]


def test_places_between_cells_are_interpolated_and_beyond_the_input_the_last_cell_goes_on() -> None:
    """A margin of a quarter of 0.5 on each side makes it -1/8 to 7/8 of 2 cells: places at 1/8 and 5/8, cells at 1/4 and 3/4."""
    box = lungs((0.0, 0.0, 0.0), (0.75, 1.0, 1.0))
    frame = frame_resampling([box], grid=(2, 1, 1), frame=(2, 1, 1), margin=1 / 6, device=CPU)
    places = frame.to_frame(torch.tensor([4.0, 8.0]).view(1, 2, 1, 1, 1)).flatten()
    assert places.tolist() == pytest.approx([4, 7])


def test_axes_keep_their_order_and_scans_their_own_box() -> None:
    """Against numpy's interpolation, an axis after the other."""
    rng = np.random.default_rng(0)
    cells, boxes = rng.normal(size=(2, 4, 5, 6, 3)), [lungs((0.1, 0.2, 0.3), (0.9, 0.8, 0.95)), lungs((0.0, 0.3, 0.1), (0.7, 0.9, 0.6))]
    got = frame_resampling(boxes, grid=(4, 5, 6), frame=(3, 4, 2), margin=0.1, device=CPU).to_frame(torch.from_numpy(cells).float())
    for b, box in enumerate(boxes):
        expected = cells[b]
        for axis, count in enumerate((3, 4, 2)):
            extent = box.high[axis] - box.low[axis]
            middles = box.low[axis] - 0.1 * extent + (np.arange(count) + 0.5) / count * 1.2 * extent
            at = middles * cells.shape[axis + 1] - 0.5
            expected = np.apply_along_axis(lambda line, at=at: np.interp(at, np.arange(len(line)), line), axis, expected)
        np.testing.assert_allclose(got[b].numpy(), expected, atol=1e-5)


def test_a_shifted_patient_has_the_same_places_and_a_shifted_map() -> None:
    """By two of eight cells along z: what was at a place is there again, and what is mapped back moves by two cells."""
    torch.manual_seed(0)
    cells = torch.zeros(1, 8, 6, 6, 2)
    cells[:, 1:5, 1:5, 1:5] = torch.rand(1, 4, 4, 4, 2)
    moved = torch.roll(cells, 2, dims=1)
    here, there = lungs((1 / 8, 1 / 6, 1 / 6), (5 / 8, 5 / 6, 5 / 6)), lungs((3 / 8, 1 / 6, 1 / 6), (7 / 8, 5 / 6, 5 / 6))
    frames = [frame_resampling([box], grid=(8, 6, 6), frame=(5, 5, 5), margin=0.1, device=CPU) for box in (here, there)]
    places = [frame.to_frame(values) for frame, values in zip(frames, (cells, moved), strict=True)]
    torch.testing.assert_close(places[0], places[1])
    maps = [frame.to_grid(value) for frame, value in zip(frames, places, strict=True)]
    assert float(maps[0][:, 1:5].sum()) > 1
    torch.testing.assert_close(torch.roll(maps[0], 2, dims=1), maps[1])
