from __future__ import annotations

import numpy as np
import pytest

from thoracle.ct.geometry.axes import axis_order, degrees_off, drifts_of, step_lengths, upright_box


def test_steps_and_order_of_axes_that_are_swapped() -> None:
    """The first stored axis runs along z in steps of 2.5 mm, the second along x, the third along y backwards."""
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0.7, 0], [0, 0, -0.8], [2.5, 0, 0]])
    assert axis_order(affine) == [1, 2, 0]
    assert step_lengths(affine).tolist() == [2.5, 0.7, 0.8]
    assert degrees_off(affine[:3, axis_order(affine)]) == 0


@pytest.mark.parametrize("degrees", [0.5, 10, 29])
def test_a_turn_is_its_angle_and_its_box(degrees: float) -> None:
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    assert degrees_off(turn) == pytest.approx(degrees)
    width = np.ceil(10 * np.cos(angle) + 10 * np.sin(angle)) + 1  # of a square of 11 voxels, ten steps wide
    assert upright_box(turn, (11, 11, 4)).tolist() == [width, width, 4]


def test_a_shear_of_z_into_y_slides_by_its_sine() -> None:
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[:3, 2] = [0, 2 * np.sin(0.1), 2 * np.cos(0.1)]
    drifts = drifts_of(affine, (50, 60, 100))
    assert drifts[1, 2] == pytest.approx(np.sin(0.1) * 200)  # 100 slices of 2 mm, in voxels of 1 mm along y
    assert drifts[2, 1] == pytest.approx(np.sin(0.1) * 60 / 2)
    drifts[[1, 2], [2, 1]] = 0
    assert not drifts.any()
