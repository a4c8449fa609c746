"""Select the series of a study: one candidate is taken, several are listed, and nothing is chosen silently.

Where one SeriesInstanceUID holds several volumes, they are UID#1, UID#2, …, in an order of what tells them apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np

from thoracle.ct.dicom.eligibility import StudyObject, derived_reason
from thoracle.ct.dicom.files import MAX_FILES
from thoracle.ct.dicom.frames import Slice, is_multiframe, slices_of
from thoracle.ct.dicom.header import Header, text
from thoracle.ct.dicom.series_parts import FEWEST_AGREEING, MOST_SCOUTS, differ_in_shape, drop_copies, split_slices
from thoracle.errors import BudgetExceeded, InputError, MixedSeries, NotCT, ScanError, SeriesAmbiguous

AXIAL_SLICES: Final = 20  # an axial CT of so many slices is a body, not a localizer, a bolus monitor or a snapshot
_AXIAL_COSINE: Final = 0.85  # normal within 32 degrees of the body's axis: gantries tilt to 30


@dataclass(frozen=True, kw_only=True, eq=False)
class Series:
    """Hold the images of one SeriesInstanceUID, or one of the volumes in it; a multi-frame file is a volume or several by itself.

    Attributes:
        uid: SeriesInstanceUID, with #1, #2, … for one of its volumes.
        headers: of its files.
        multiframe: it is one file.
        frames: those of the file that are the volume, where not all are.
        difference: what tells it from the other volumes under its UID.
        fields: the names of what differs.
    """

    uid: str
    headers: tuple[Header, ...]
    multiframe: bool
    frames: tuple[Slice, ...] = ()
    difference: str = ""
    fields: tuple[str, ...] = ()

    @cached_property
    def slices(self) -> tuple[Slice, ...]:
        """List every slice, unsorted. Raises like `slices_of`."""
        return self.frames or tuple(s for header in self.headers for s in slices_of(header))

    @property
    def count(self) -> int:
        """Number of slices, also where they cannot be placed."""
        return len(self.frames) or sum(header.nonnegative_int("NumberOfFrames", default=1) for header in self.headers)

    @property
    def is_axial_ct(self) -> bool:
        """Tell whether this is an axial CT of at least 20 slices, and not derived from one."""
        normal = self._normal()
        axial = self.count >= AXIAL_SLICES and normal is not None and abs(normal[2]) > _AXIAL_COSINE
        return axial and derived_reason(self.headers[0]) is None

    @property
    def is_scout(self) -> bool:
        """Tell whether this is one or two images that do not lie across the body."""
        normal = self._normal()
        return self.count <= MOST_SCOUTS and normal is not None and abs(normal[2]) <= _AXIAL_COSINE

    def __str__(self) -> str:
        """One line of the list: UID, description, kernel, slices, spacing."""
        first = self.headers[0].dataset
        form = ", multi-frame" if self.multiframe else ""
        named = (text(first, "SeriesDescription") or "no description", f"kernel {self.headers[0].kernel or 'not given'}")
        facts = (self.uid or "(no UID)", *named, f"{self.count} slices{form}", self._spacing(), self.difference)
        return "  ".join(filter(None, facts))

    def _normal(self) -> np.ndarray[tuple[int], np.dtype[np.float64]] | None:
        try:
            first = self.slices[0] if self.multiframe else slices_of(self.headers[0])[0]
            return np.cross(*first.orientation)
        except ScanError:
            return None

    def _spacing(self) -> str:
        normal = self._normal()
        if normal is None:
            return "no spacing"
        try:
            along = np.sort([s.position @ normal for s in self.slices])
        except ScanError:
            return "no spacing"
        step = f"{np.median(np.diff(along)):.4g}" if len(along) > 1 else "?"
        rows, columns = self.slices[0].spacing
        return f"{columns:.4g} x {rows:.4g} x {step} mm"


def find_ct_series(objects: Iterable[StudyObject], *, source: str) -> tuple[tuple[Series, ...], tuple[str, ...]]:
    """List series that could be a CT volume, with a note on what was set aside. Damaged files are left to the caller.

    Raises:
        NotCT: there is none; the message says what is there.
    """
    classic: dict[str, list[Header]] = {}
    multiframe: list[Series] = []
    skipped: Counter[str] = Counter()
    for member in objects:
        if member.rejection:
            skipped[member.rejection] += 1
        elif member.header is not None and is_multiframe(member.header):
            multiframe.append(Series(uid=member.series or "", headers=(member.header,), multiframe=True))
        elif member.header is not None:
            classic.setdefault(member.series or "", []).append(member.header)
    series = [*(Series(uid=uid, headers=tuple(group), multiframe=False) for uid, group in classic.items()), *multiframe]
    scouts = [candidate for candidate in series if candidate.is_scout]
    if len(scouts) < len(series):
        series = [candidate for candidate in series if candidate not in scouts]
        skipped["scout"] += sum(candidate.count for candidate in scouts)
    reasons = ", ".join(f"{count} x {reason}" for reason, count in sorted(skipped.items()) if count)
    if not series:
        raise NotCT(f"expected a CT volume, got {reasons}", hint="Give a CT series.", source=source)
    return tuple(series), (f"set aside: {reasons}",) if reasons else ()


def select_series(series: Sequence[Series], *, uid: str | None, source: str) -> tuple[Series, tuple[str, ...]]:
    """Select the requested series, with notes where there was a choice.

    Args:
        series: the candidates.
        uid: a SeriesInstanceUID, or a beginning of it that only one has; #1, #2, … at its end for one of the volumes in it.
        source: for messages.

    Raises:
        SeriesAmbiguous: more than one could be meant.
        MixedSeries: the same, of volumes of unlike shape under one UID.
        DuplicateSlices: one instance in two versions.
        BudgetExceeded: more files than a series has.
        InputError: none has the UID or number.
    """
    of_uid: dict[str, list[Series]] = {}
    for candidate in series:
        of_uid.setdefault(candidate.uid, []).append(candidate)
    beginning, _, number = (uid or "").partition("#")
    notes: tuple[str, ...] = ()
    if uid is not None:
        named = [beginning] if beginning in of_uid else [name for name in of_uid if name.startswith(beginning)]
        if not named:
            raise InputError(f"no CT series begins with {beginning}", hint="Give one of:" + _listed(series), source=source)
        if len(named) > 1:
            raise _ambiguous([candidate for name in named for candidate in of_uid[name]], source)
    else:
        named = list(of_uid)
        if len(named) > 1:
            axial = [name for name, candidates in of_uid.items() if any(candidate.is_axial_ct for candidate in candidates)]
            if len(axial) != 1:
                raise _ambiguous(series, source)
            notes = (f"1 of {len(named)} series: the only axial CT with {AXIAL_SLICES} slices or more",)
            named = axial
    volumes, part_notes = _volumes(of_uid[named[0]], source)
    if number:
        match = next((volume for volume in volumes if volume.uid.endswith(f"#{number}")), None)
        if match is None:
            raise InputError(f"series {named[0]} has no volume #{number}", hint="Give one of:" + _listed(volumes), source=source)
        return match, part_notes
    if len(volumes) > 1:
        raise _ambiguous(volumes, source)
    return volumes[0], notes + part_notes


def _volumes(candidates: Sequence[Series], source: str) -> tuple[tuple[Series, ...], tuple[str, ...]]:
    """The volumes under one UID, numbered where there are several; notes on copies and scouts among its files."""
    headers, notes = drop_copies([header for candidate in candidates for header in candidate.headers], source=source)
    if len(headers) > MAX_FILES:
        raise BudgetExceeded(f"a series of more than {MAX_FILES:,} files", hint="Export the series again.", source=source)
    uid = candidates[0].uid
    volumes = []
    classic = [header for header in headers if not is_multiframe(header)]
    if classic:
        placed, unplaced = _placed(classic)
        parts, scouts = split_slices([piece for header in placed for piece in slices_of(header)])
        notes += (*scouts, *([f"set aside: {unplaced} x scout (of another size, without a place)"] if unplaced else []))
        volumes += [
            Series(
                uid=uid,
                headers=tuple(piece.header for piece in part.slices),
                multiframe=False,
                difference=part.difference,
                fields=part.fields,
            )
            for part in parts
        ]
    stacks = [Series(uid=uid, headers=(header,), multiframe=True) for header in headers if is_multiframe(header)]
    for stack in sorted(stacks, key=lambda stack: (str(stack), text(stack.headers[0].dataset, "SOPInstanceUID"))):
        parts, scouts = split_slices(stack.slices)
        notes += scouts
        volumes += [replace(stack, frames=part.slices, difference=part.difference, fields=part.fields) for part in parts]
    if len(volumes) == 1:
        return tuple(volumes), notes
    return tuple(replace(volume, uid=f"{uid}#{number}") for number, volume in enumerate(volumes, start=1)), notes


def _placed(headers: Sequence[Header]) -> tuple[Sequence[Header], int]:
    """Leave out one or two images of another size that do not say where they lie, beside many; the rest, and how many were left out."""
    sizes = [(text(header.dataset, "Rows"), text(header.dataset, "Columns")) for header in headers]
    usual, count = Counter(sizes).most_common(1)[0]
    if count < FEWEST_AGREEING or not 0 < len(headers) - count <= MOST_SCOUTS:
        return headers, 0
    place = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
    placed = [
        header
        for header, size in zip(headers, sizes, strict=True)
        if size == usual or all(text(header.dataset, keyword) for keyword in place)
    ]
    return placed, len(headers) - len(placed)


def _ambiguous(series: Sequence[Series], source: str) -> ScanError:
    if len({candidate.uid.partition("#")[0] for candidate in series}) < len(series) and "#" in series[0].uid:
        shapes = [candidate for candidate in series if not candidate.multiframe]
        kind = MixedSeries if len(shapes) > 1 and differ_in_shape([candidate.slices for candidate in shapes]) else SeriesAmbiguous
        advice = f"Choose one by its number, --series UID#1 to UID#{len(series)}; `thoracle inspect` lists them:"
        fields = dict.fromkeys(field for candidate in series for field in candidate.fields)
        told_apart = f"; what differs is {' and '.join(fields)}" if fields else ""
        detail = f"{len(series)} volumes under one SeriesInstanceUID could be meant{told_apart}"
        return kind(detail, hint=advice + _listed(series), source=source)
    advice = "Choose one by its UID, or the beginning of it (--series UID):"
    return SeriesAmbiguous(f"{len(series)} series could be meant", hint=advice + _listed(series), source=source)


def _listed(series: Sequence[Series]) -> str:
    return "".join(f"\n  {candidate}" for candidate in series)
