"""Select the series of a study: one candidate is taken, several are listed, and nothing is chosen silently."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from thoracle.ct.dicom.eligibility import rejection_reason
from thoracle.ct.dicom.frames import Slice, is_multiframe, slices_of
from thoracle.ct.dicom.header import Header, text
from thoracle.errors import InputError, NotCT, ScanError, SeriesAmbiguous

AXIAL_SLICES: Final = 20  # an axial CT of so many slices is a body, not a localizer, a bolus monitor or a snapshot
_AXIAL_COSINE: Final = 0.85  # normal within 32 degrees of the body's axis: gantries tilt to 30


@dataclass(frozen=True, kw_only=True, eq=False)
class Series:
    """Hold the images of one SeriesInstanceUID; a multi-frame file is a series by itself."""

    uid: str
    headers: tuple[Header, ...]
    multiframe: bool

    @cached_property
    def slices(self) -> tuple[Slice, ...]:
        """List every slice, unsorted. Raises like `slices_of`."""
        return tuple(s for header in self.headers for s in slices_of(header))

    @property
    def count(self) -> int:
        """Number of slices, also where they cannot be placed."""
        return sum(header.nonnegative_int("NumberOfFrames", default=1) for header in self.headers)

    @property
    def is_axial_ct(self) -> bool:
        """Tell whether this is an axial CT of at least 20 slices."""
        normal = self._normal()
        return self.count >= AXIAL_SLICES and normal is not None and abs(normal[2]) > _AXIAL_COSINE

    def __str__(self) -> str:
        """One line of the list: UID, description, kernel, slices, spacing."""
        first = self.headers[0].dataset
        form = ", multi-frame" if self.multiframe else ""
        named = (text(first, "SeriesDescription") or "no description", f"kernel {self.headers[0].kernel or 'not given'}")
        return "  ".join((self.uid or "(no UID)", *named, f"{self.count} slices{form}", self._spacing()))

    def _normal(self) -> np.ndarray[tuple[int], np.dtype[np.float64]] | None:
        try:
            return np.cross(*self.slices[0].orientation)
        except ScanError:
            return None

    def _spacing(self) -> str:
        normal = self._normal()
        if normal is None:
            return "no spacing"
        along = np.sort([s.position @ normal for s in self.slices])
        step = f"{np.median(np.diff(along)):.4g}" if len(along) > 1 else "?"
        rows, columns = self.slices[0].spacing
        return f"{columns:.4g} x {rows:.4g} x {step} mm"


def find_ct_series(headers: Iterable[Header], *, source: str) -> tuple[tuple[Series, ...], tuple[str, ...]]:
    """List series that could be a CT volume, with a note on what was set aside.

    Raises:
        NotCT: there is none; the message says what is there.
    """
    classic: dict[str, list[Header]] = {}
    multiframe: list[Series] = []
    skipped: Counter[str] = Counter()
    for header in headers:
        uid = text(header.dataset, "SeriesInstanceUID")
        reason = rejection_reason(header)
        if reason:
            skipped[reason] += 1
        elif is_multiframe(header):
            multiframe.append(Series(uid=uid, headers=(header,), multiframe=True))
        else:
            classic.setdefault(uid, []).append(header)
    series = (*(Series(uid=uid, headers=tuple(group), multiframe=False) for uid, group in classic.items()), *multiframe)
    reasons = ", ".join(f"{count} x {reason}" for reason, count in sorted(skipped.items()))
    if not series:
        raise NotCT(f"expected a CT volume, got {reasons}", hint="Give a CT series.", source=source)
    return series, (f"set aside: {reasons}",) if reasons else ()


def select_series(series: Sequence[Series], *, uid: str | None, source: str) -> tuple[Series, tuple[str, ...]]:
    """Select the requested series, with notes where there was a choice.

    `wanted` is a SeriesInstanceUID or a beginning of it that only one has.

    Raises:
        SeriesAmbiguous: more than one could be meant.
        InputError: none has the wanted UID.
    """
    if uid is not None:
        exact = [candidate for candidate in series if candidate.uid == uid]
        named = exact or [candidate for candidate in series if candidate.uid.startswith(uid)]
        if not named:
            raise InputError(f"no CT series begins with {uid}", hint="Give one of:" + _listed(series), source=source)
        if len(named) > 1:
            raise _ambiguous(named, source)
        return named[0], ()
    if len(series) == 1:
        return series[0], ()
    axial = [candidate for candidate in series if candidate.is_axial_ct]
    if len(axial) != 1:
        raise _ambiguous(series, source)
    return axial[0], (f"1 of {len(series)} series: the only axial CT with {AXIAL_SLICES} slices or more",)


def _ambiguous(series: Sequence[Series], source: str) -> SeriesAmbiguous:
    advice = "Choose one by its UID, or the beginning of it (--series UID):"
    if len({candidate.uid for candidate in series}) < len(series):
        advice = "Give the file, or the folder of the files, that is meant; no UID tells all of these apart:"
    return SeriesAmbiguous(f"{len(series)} series could be meant", hint=advice + _listed(series), source=source)


def _listed(series: Sequence[Series]) -> str:
    return "".join(f"\n  {candidate}" for candidate in series)
