"""Name the axes of an array by where their indices grow to in the patient, and view arrays of one naming under another.

A naming has a letter an axis: R or L, A or P, S or I, for right, left, anterior, posterior, superior and inferior.
"""

from __future__ import annotations

import itertools
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from thoracle.errors import InputError

#: (z, x, y): superior, left, posterior; what people and maps are shown.
ZXY: Final = "SLP"
_OPPOSITE: Final = dict(zip("RLAPSI", "LRPAIS", strict=True))
_Number = TypeVar("_Number", int, float)
_PAIRS: Final = ("LR", "PA", "SI")  # along x, y and z of a scan, whose indices grow to the first
_NAMINGS: Final = frozenset("".join(letters) for order in itertools.permutations(_PAIRS) for letters in itertools.product(*order))


def check_axes(axes: str) -> None:
    """Raise InputError for three letters that are no axes."""
    if axes not in _NAMINGS:
        hint = "Give one of R or L, of A or P and of S or I, such as RAS: where the indices of each axis grow to."
        raise InputError(f"axes {axes[:20]!r} name no order", hint=hint, source="config")


def scan_axes(axes: str) -> tuple[int, int, int]:
    """Return which axis of a scan (x, y, z) each letter lies along."""
    first, second, third = (next(n for n, pair in enumerate(_PAIRS) if letter in pair) for letter in axes)
    return first, second, third


def is_flipped(letter: str) -> bool:
    """Tell whether indices grow against a scan's own."""
    return all(letter != first for first, _ in _PAIRS)


def view_as(array: NDArray[Any], axes: str, target: str) -> NDArray[Any]:
    """Turn the last three axes of an array, which `axes` names, to those of another naming; a view.

    Args:
        array: any number of axes before the three.
        axes: what they are.
        target: what they shall be.
    """
    positions = {letter: n for n, letter in enumerate(axes)}
    order = [positions[letter] if letter in axes else positions[_OPPOSITE[letter]] for letter in target]
    before = array.ndim - len(axes)
    turned = array.transpose(*range(before), *(before + n for n in order))
    flips = tuple(before + n for n, letter in enumerate(target) if letter not in axes)
    return np.flip(turned, flips) if flips else turned


def reorder(numbers: tuple[_Number, _Number, _Number], axes: str, target: str) -> tuple[_Number, _Number, _Number]:
    """Put a number of each axis that `axes` names, such as its voxels, into the order of another naming."""
    by_axis = dict(zip(scan_axes(axes), numbers, strict=True))
    first, second, third = (by_axis[n] for n in scan_axes(target))
    return first, second, third
