"""Tell apart what lies under one SeriesInstanceUID: copies of an instance, scouts, and phases or reconstructions that are volumes each.

All is decided by content, never by the order or the names of files.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from typing import Final

import numpy as np

from thoracle.ct.dicom.frames import Slice, frame_text, is_multiframe, slices_of
from thoracle.ct.dicom.header import Header, text
from thoracle.ct.dicom.pixels import read_pixels
from thoracle.ct.dicom.slice_geometry import SAME_POSITION_MM, build_slice_grid
from thoracle.errors import DuplicateSlices, ScanError

MOST_SCOUTS: Final = 2  # a frontal and a lateral one
FEWEST_AGREEING: Final = 20  # slices that make what lies otherwise beside them a scout
_MOST_PARTS: Final = 32  # a heart's cycle in steps of 5% has 20
_SAME: Final = 1e-3  # of cosines, and of spacing: as slices of one stack may differ
_FIELD_MM: Final = 0.1
#: What tells phases and reconstructions of one series apart, the most telling first.
_KEYWORDS: Final = (
    *("AcquisitionNumber", "TemporalPositionIdentifier", "TemporalPositionTimeOffset", "NominalPercentageOfCardiacPhase"),
    *("NominalPercentageOfRespiratoryPhase", "StackID", "ImageType", "ConvolutionKernel", "KVP", "SliceThickness"),
    *("ContrastBolusAgent", "SeriesDescription", "AcquisitionTime", "ContentTime"),
)
_TIMES: Final = ("AcquisitionTime", "ContentTime")
_FIELD_OF_VIEW: Final = "field of view"

_Order = tuple[float, str]


@dataclass(frozen=True, kw_only=True, eq=False)
class SeriesPart:
    """Hold slices that make one volume, and what tells them from those of the same series; "" where there are no others.

    `fields` are the names of what differs, without what stands there.
    """

    slices: tuple[Slice, ...]
    difference: str = ""
    fields: tuple[str, ...] = ()


def drop_copies(headers: Sequence[Header], *, source: str) -> tuple[tuple[Header, ...], tuple[str, ...]]:
    """Keep one of the files that hold the same instance, with a note of how many were left out.

    Files are the same where their bytes are, or their SOPInstanceUID, places, rescale and pixels.

    Raises:
        DuplicateSlices: one SOPInstanceUID with unlike places or pixels.
        CorruptFile: what is compared is damaged.
    """
    same_uid: dict[tuple[str, object], list[Header]] = {}
    for header in headers:
        uid = text(header.dataset, "SOPInstanceUID")
        form = is_multiframe(header) if uid else (header.source.size, text(header.dataset, "ImagePositionPatient"))
        same_uid.setdefault((uid, form), []).append(header)
    distinct: list[Header] = []
    pairs: list[tuple[Header, Header]] = []
    for (uid, _), sharing in same_uid.items():
        if len(sharing) == 1:
            distinct += sharing
            continue
        by_digest = {hashlib.sha256(header.source.read()).hexdigest(): header for header in sharing}
        first, *others = (by_digest[digest] for digest in sorted(by_digest))
        distinct.append(first)
        if uid:
            pairs += ((first, other) for other in others)
        else:
            distinct += others
    _require_same(pairs, source)
    dropped = len(headers) - len(distinct)
    return tuple(distinct), (f"files that repeat an instance, counted once: {dropped}",) if dropped else ()


def _require_same(pairs: Sequence[tuple[Header, Header]], source: str) -> None:
    """Pixels are compared decoded, all pairs of one size at a time: each decoding starts a process."""
    stacks: dict[object, list[tuple[tuple[Slice, ...], tuple[Slice, ...]]]] = {}
    unlike = 0
    for first, other in pairs:
        slices, repeated = slices_of(first), slices_of(other)
        if list(map(_place, slices)) == list(map(_place, repeated)):
            stacks.setdefault((slices[0].rows, slices[0].columns), []).append((slices, repeated))
        else:
            unlike += 1
    for stack in stacks.values():
        firsts = read_pixels([piece for slices, _ in stack for piece in slices]).voxels
        others = read_pixels([piece for _, repeated in stack for piece in repeated]).voxels
        unlike += int(np.any(firsts != others, axis=(1, 2)).sum())
    if unlike:
        raise DuplicateSlices(
            f"{unlike} slice(s) carry the SOPInstanceUID of another, and differ from it",
            hint="Of the files with one SOPInstanceUID, keep the original.",
            source=source,
        )


def _place(piece: Slice) -> tuple[object, ...]:
    numbers = (*piece.position, *piece.orientation.ravel(), *piece.spacing)
    return piece.rows, piece.columns, piece.rescale, tuple(map(float, numbers))


def split_slices(slices: Sequence[Slice]) -> tuple[tuple[SeriesPart, ...], tuple[str, ...]]:
    """Divide the slices of one series into volumes, in an order of what tells them apart, with a note on scouts among them.

    Slices that make one volume, and slices that cannot be parted into volumes, are one part: their geometry is judged elsewhere.
    """
    groups = _by_shape(slices)
    largest = max(groups, key=len)
    if len(groups) > 1 and len(largest) >= FEWEST_AGREEING and all(group is largest or len(group) <= MOST_SCOUTS for group in groups):
        parts = _parts(largest)
        if len(parts) > 1 or _is_volume(largest):
            return parts, (f"set aside: {len(slices) - len(largest)} x scout (of another orientation or size)",)
    if len(groups) == 1:
        return _parts(slices), ()
    volumes = [part for group in groups for part in _parts(group)]
    if all(len(part.slices) > MOST_SCOUTS and _is_volume(part.slices) for part in volumes):
        named = [
            replace(
                part,
                difference=", ".join(filter(None, (_field_of_view(part.slices[0]), part.difference))),
                fields=(_FIELD_OF_VIEW, *part.fields),
            )
            for part in volumes
        ]
        return tuple(named), ()
    return (SeriesPart(slices=tuple(slices)),), ()


def differences_at_one_place(slices: Sequence[Slice]) -> tuple[str, ...]:
    """Name the fields in which slices that lie at one place differ."""
    crowded = [stack for stack in _stacks(slices) if len(stack) > 1]
    return tuple(
        dict.fromkeys(field for field, split in _splits(slices) if split and any(len({split[p] for p in stack}) > 1 for stack in crowded))
    )


def differ_in_shape(volumes: Sequence[Sequence[Slice]]) -> bool:
    """Tell whether volumes differ in orientation, size or spacing."""
    return len(_by_shape([slices[0] for slices in volumes])) > 1


def _by_shape(slices: Sequence[Slice]) -> list[list[Slice]]:
    """Slices of like orientation, size and spacing, in an order of these; past a number of shapes the rest is one group."""
    groups: list[list[Slice]] = []
    for piece in sorted(slices, key=_place_order):
        group = next((group for group in groups if _alike(group[0], piece)), None)
        if group is None and len(groups) <= _MOST_PARTS:
            groups.append([piece])
        else:
            (group or groups[-1]).append(piece)
    return groups


def _place_order(piece: Slice) -> tuple[float, ...]:
    return piece.rows, piece.columns, *piece.orientation.ravel(), *piece.spacing, *piece.position


def _alike(first: Slice, second: Slice) -> bool:
    return (
        (first.rows, first.columns) == (second.rows, second.columns)
        and bool(np.abs(first.orientation - second.orientation).max() <= _SAME)
        and bool(np.allclose(first.spacing, second.spacing, rtol=_SAME, atol=0))
    )


def _is_volume(slices: Sequence[Slice]) -> bool:
    try:
        build_slice_grid(slices, min_slices=1, source="")
    except ScanError:
        return False
    return True


def _parts(slices: Sequence[Slice]) -> tuple[SeriesPart, ...]:
    """Volumes among slices of one shape: by one field, else by two."""
    whole = (SeriesPart(slices=tuple(slices)),)
    if len(slices) <= MOST_SCOUTS or _is_volume(slices):
        return whole
    splits = [(field, split) for field, split in _splits(slices) if len(set(split.values())) > 1]
    for chosen in (*((named,) for named in splits), *combinations(splits, 2)):
        groups: dict[tuple[tuple[_Order, str], ...], list[Slice]] = {}
        for piece in slices:
            groups.setdefault(tuple(split[piece] for _, split in chosen), []).append(piece)
        volumes = list(groups.values())
        few = 2 <= len(volumes) <= _MOST_PARTS and all(len(group) > MOST_SCOUTS for group in volumes)
        if few and all(map(_is_volume, volumes)) and _overlap(volumes):  # halves of one volume with a gap between them are no choice
            named_groups = [(g, tuple(o for o, _ in key), ", ".join(label for _, label in key)) for key, g in groups.items()]
            return _numbered(named_groups, fields=tuple(field for field, _ in chosen))
    return whole


def _numbered(groups: Sequence[tuple[Sequence[Slice], tuple[_Order, ...], str]], *, fields: tuple[str, ...]) -> tuple[SeriesPart, ...]:
    ordered = sorted(groups, key=lambda group: (group[1], min(map(_place_order, group[0]))))
    return tuple(SeriesPart(slices=tuple(slices), difference=difference, fields=fields) for slices, _, difference in ordered)


def _splits(slices: Sequence[Slice]) -> Iterator[tuple[str, dict[Slice, tuple[_Order, str]]]]:
    """For each field, its value of each slice, to sort by and to say; times that differ from slice to slice are ranked at each place."""
    for keyword in _KEYWORDS:
        values = {piece: frame_text(piece, keyword) for piece in slices}
        yield keyword, {piece: _ordered(keyword, content) for piece, content in values.items()}
        if keyword in _TIMES:
            yield keyword, {piece: _ordered(keyword, content) for piece, content in _ranks(slices, values).items()}
    yield _FIELD_OF_VIEW, _split_by(slices, lambda piece: tuple(round(float(at) / _FIELD_MM) for at in _sideways(piece)), _field_of_view)


def _split_by(
    slices: Sequence[Slice], key: Callable[[Slice], tuple[int, ...]], label: Callable[[Slice], str]
) -> dict[Slice, tuple[_Order, str]]:
    order = {place: rank for rank, place in enumerate(sorted({key(piece) for piece in slices}))}
    labels = {key(piece): label(piece) for piece in sorted(slices, key=_place_order, reverse=True)}
    return {piece: ((order[key(piece)], ""), labels[key(piece)]) for piece in slices}


def _ordered(keyword: str, content: str) -> tuple[_Order, str]:
    try:
        number = float(content)
    except ValueError:
        number = math.inf
    return (number, "") if math.isfinite(number) else (math.inf, content), f"{keyword} {content or 'absent'}"


def _ranks(slices: Sequence[Slice], values: dict[Slice, str]) -> dict[Slice, str]:
    """The beginning of the first, second, … pass over all places, where each begins after the one before has ended; else nothing."""
    stacks = _stacks(slices)
    if len({len(stack) for stack in stacks}) > 1 or not all(values.values()):
        return {}
    phases = list(zip(*(sorted(stack, key=lambda piece: values[piece]) for stack in stacks), strict=True))
    spans = [(min(values[piece] for piece in phase), max(values[piece] for piece in phase)) for phase in phases]
    if any(later[0] <= earlier[1] for earlier, later in pairwise(spans)):
        return {}
    return {piece: first for phase, (first, _) in zip(phases, spans, strict=True) for piece in phase}


def _stacks(slices: Sequence[Slice]) -> list[list[Slice]]:
    """Slices of each place along the normal, in order."""
    normal = np.cross(*slices[0].orientation)
    stacks: list[list[Slice]] = []
    for piece in sorted(slices, key=lambda piece: float(piece.position @ normal)):
        if stacks and float((piece.position - stacks[-1][0].position) @ normal) < SAME_POSITION_MM:
            stacks[-1].append(piece)
        else:
            stacks.append([piece])
    return stacks


def _overlap(volumes: Sequence[Sequence[Slice]]) -> bool:
    normal = np.cross(*volumes[0][0].orientation)
    spans = sorted((min(along), max(along)) for volume in volumes if (along := [float(piece.position @ normal) for piece in volume]))
    return all(later[0] < earlier[1] for earlier, later in pairwise(spans))


def _sideways(piece: Slice) -> tuple[float, float]:
    return float(piece.position @ piece.orientation[0]), float(piece.position @ piece.orientation[1])


def _field_of_view(piece: Slice) -> str:
    width, height = piece.columns * piece.spacing[1], piece.rows * piece.spacing[0]
    across, down = _sideways(piece)
    return f"field of view {width:.4g} x {height:.4g} mm from {across:.4g}, {down:.4g}"
