from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from thoracle.ct.geometry.header import is_blank, millimetres_per
from thoracle.errors import GeometryInvalid


def test_the_identity_in_any_order_and_direction_from_anywhere_is_blank() -> None:
    for order, signs in itertools.product(itertools.permutations(range(3)), itertools.product((1.0, -1.0), repeat=3)):
        affine = np.eye(4)
        affine[:3, :3] = np.eye(3)[:, order] * signs
        affine[:3, 3] = (-120.5, 3.0, 800.0)
        assert is_blank(affine)
        affine[0] *= 1 + 1e-9  # as from a quaternion
        assert is_blank(affine)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.25), (0.9765625, 1.0, 1.0), (1.0, 1.0, 1.001), (2.0, 1.0, 1.0), (1.0, 0.0, 1.0)])
def test_another_spacing_is_not_blank(spacing: tuple[float, ...]) -> None:
    assert not is_blank(np.diag([*spacing, 1.0]))


def test_a_turned_or_broken_affine_is_not_blank() -> None:
    turned = np.eye(4)
    turned[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    assert not is_blank(turned)
    assert not is_blank(np.full((4, 4), np.nan))
    doubled = np.eye(4)
    doubled[1, 0], doubled[0, 0] = 1.0, 0.0  # two axes along y
    assert not is_blank(doubled)


@pytest.mark.parametrize(("unit", "factor"), [("meter", 1000), ("m", 1000), ("micron", 0.001), ("um", 0.001), ("cm", 10), ("MM", 1)])
def test_a_body_in_another_unit_is_a_body(unit: str, factor: float) -> None:
    steps = np.array([0.7, 0.7, 1.25]) / factor
    assert millimetres_per(unit, steps, (512, 512, 300), field="xyzt_units", source=Path("scan.nii")) == factor


@pytest.mark.parametrize("unit", ["meter", "micron"])
def test_millimetres_under_another_unit_are_no_body_and_quoted(unit: str) -> None:
    with pytest.raises(GeometryInvalid, match=rf"xyzt_units must be millimetres, is {unit}: 512 x 512 x 300 voxels of 0\.7 x 0\.7 x 1\.25"):
        millimetres_per(unit, np.array([0.7, 0.7, 1.25]), (512, 512, 300), field="xyzt_units", source=Path("scan.nii"))


@pytest.mark.parametrize(
    ("unit", "steps", "shape"), [("cm", 0.7, (512, 512, 300)), ("m", 0.001, (20, 20, 20)), ("m", np.nan, (99, 99, 99))]
)
def test_what_is_larger_or_smaller_than_a_body_is_refused(unit: str, steps: float, shape: tuple[int, ...]) -> None:
    with pytest.raises(GeometryInvalid, match="no body"):
        millimetres_per(unit, np.full(3, steps), shape, field="space units", source=Path("scan.nrrd"))


@pytest.mark.parametrize("unit", ["sec", "furlong", "", "7"])
def test_what_is_no_length_is_refused(unit: str) -> None:
    with pytest.raises(GeometryInvalid, match="must be millimetres"):
        millimetres_per(unit, np.full(3, 0.7), (512, 512, 300), field="space units", source=Path("scan.nrrd"))
