"""One CT series from a DICOM file, folder or .zip, as stored voxels; the order of judgement is series, geometry, slices, units, pixels."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final

from thoracle.ct.dicom.eligibility import StudyObject, derived_reason, examine, is_misnamed
from thoracle.ct.dicom.files import StudyFiles, holds_nifti, open_study_files
from thoracle.ct.dicom.frames import decimal_notes
from thoracle.ct.dicom.header import Header, items, numbers, quiet_parser, text
from thoracle.ct.dicom.pixels import read_pixels, require_decodable, resample_padding, resample_slices
from thoracle.ct.dicom.rescale import apply_rescales, rescales_of
from thoracle.ct.dicom.series_parts import differences_at_one_place
from thoracle.ct.dicom.series_selection import Series, find_ct_series, select_series
from thoracle.ct.dicom.slice_geometry import Uneven, build_slice_grid
from thoracle.ct.stored import StoredScan
from thoracle.ct.volume import HeaderTags
from thoracle.errors import CorruptFile, DuplicateSlices, ScanError, ScanUnreadable, SliceGap, TooFewSlices, UnsupportedFormat
from thoracle.files.folder_tree import UnlistedPath

_MOST_NAMES: Final = 5  # of files, in a note
_YEARS: Final = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}
_AGE: Final = re.compile(r"(\d{1,3})([DWMY])")


def read_dicom(
    path: Path, *, series: str | None, hu: str, min_slices: int, files: Sequence[Path] = (), uneven: Uneven = "refuse"
) -> StoredScan:
    """Read one CT series; voxels are (column, row, slice), a transposed view of C-contiguous slices.

    A damaged file of the series refuses it. One whose series cannot be told is noted where the others make a volume without it.

    Args:
        path: one file, a folder (nested, with or without DICOMDIR) or a .zip.
        series: SeriesInstanceUID or a unique beginning of it; with #1, #2, … one of several volumes under it.
        files: the series' files, where they are known; `path` is then not searched.
        hu: "stored" reads a CT without rescale as it is; any other value refuses it.
        min_slices: fewest slices that make a volume.
        uneven: "resample" makes an even stack of slices whose distance changes, linearly; "refuse" refuses them.

    Raises:
        UnsupportedFormat: no DICOM here, or an encoding without codec.
        NotCT, SeriesAmbiguous, GeometryError, RescaleMissing, CorruptFile, ScanUnreadable, UnsafeArchive: see `thoracle.errors`.
        InputError: no series has the wanted UID.
    """
    with quiet_parser(), open_study_files(path, files=files) as listing:
        study = _study(listing, series, path)
        ct_series, skipped = _ct_series(study, series, path)
        chosen, note = select_series(ct_series, uid=series, source=str(path))
        uid = chosen.uid.partition("#")[0]
        for damaged in study.damaged:
            if damaged.series == uid and damaged.error is not None:
                raise damaged.error
        for header in chosen.headers:
            require_decodable(header)
        lost = [member for member in study.damaged if member.series is None]
        try:
            grid = build_slice_grid(chosen.slices, min_slices=min_slices, source=str(path), uneven=uneven)
        except (SliceGap, TooFewSlices) as error:
            raise _loss(lost, listing.unlisted) or error from None
        except DuplicateSlices as error:
            fields = " and ".join(differences_at_one_place(chosen.slices)) or "their pixels at most"
            raise DuplicateSlices(f"{error.detail}; they differ in {fields}", hint=error.hint, source=error.source) from None
        scales = rescales_of(grid.slices, hu=hu, source=str(path))
        pixels = read_pixels(grid.slices)
        voxels, rescale = apply_rescales(pixels, scales, hu=hu, source=str(path))
        padding = pixels.padding
        if grid.places is not None:
            voxels = resample_slices(voxels, grid.places)
            padding = None if padding is None else resample_padding(padding, grid.places)
        derived = derived_reason(chosen.headers[0])
        missing = _missing(lost, listing.unlisted)
        is_missing = bool(lost) or any(entry.kind == "file" for entry in listing.unlisted)
        notes = (*note, *skipped, *_damage_notes(study, uid), *missing, *decimal_notes(grid.slices), *pixels.notes, *grid.notes)
        return StoredScan(
            voxels=voxels.transpose(2, 1, 0),
            affine=grid.affine,
            geometry=grid.geometry + _tilt_note(chosen.headers[0]),
            rescale=rescale,
            format="DICOM multi-frame" if chosen.multiframe else "DICOM series",
            sha256=pixels.sha256,
            tags=_tags(chosen.headers[0], derived=derived, is_missing=is_missing),
            repaired=(*notes, *([f"derived image: {derived}"] if derived else [])),
            padding=None if padding is None else padding.transpose(2, 1, 0),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Study:
    """What the files of a study are; `misnamed` are called DICOM and are not."""

    objects: tuple[StudyObject, ...]
    damaged: tuple[StudyObject, ...]
    misnamed: tuple[str, ...]


def _study(listing: StudyFiles, uid: str | None, path: Path) -> _Study:
    """Examine each file once; of slices only those of the requested series are kept, if there are any: a folder may hold very many.

    Raises:
        UnsupportedFormat: nothing is DICOM.
    """
    objects: list[StudyObject] = []
    others: list[StudyObject] = []
    damaged: list[StudyObject] = []
    misnamed: list[str] = []
    is_there = False
    for source in listing.sources:
        member = examine(source)
        if member is None:
            name = PurePath(source.label).name
            if is_misnamed(name):
                misnamed.append(name)
        elif member.error is not None:
            damaged.append(member)
        elif uid is None or member.header is None:
            objects.append(member)
        elif (member.series or "").startswith(uid.partition("#")[0]):
            is_there = True
            objects.append(member)
            others.clear()
        elif not is_there:
            others.append(member)
    if not objects and not others and not damaged:
        raise _no_dicom(listing, path)
    return _Study(objects=(*objects, *others), damaged=tuple(damaged), misnamed=tuple(misnamed))


def _ct_series(study: _Study, uid: str | None, path: Path) -> tuple[tuple[Series, ...], tuple[str, ...]]:
    """Candidates; raises the damage of a file where it hides the series, or all there is."""
    wanted = None if uid is None else uid.partition("#")[0]
    intact = wanted is None or any(member.series is not None and member.series.startswith(wanted) for member in study.objects)
    for damaged in study.damaged:
        hides = damaged.series is not None and wanted is not None and damaged.series.startswith(wanted)
        if damaged.error is not None and ((hides and not intact) or not any(member.header for member in study.objects)):
            raise damaged.error
    return find_ct_series(study.objects, source=str(path))


def _damage_notes(study: _Study, uid: str) -> Iterator[str]:
    """What of the folder is damaged and not of the series that was read."""
    if elsewhere := sum(damaged.series not in (None, uid) for damaged in study.damaged):
        yield f"damaged files of other series: {elsewhere}"
    if study.misnamed:
        yield f"called DICOM, and none: {_names(study.misnamed)}"


def _loss(lost: Sequence[StudyObject], unlisted: Sequence[UnlistedPath]) -> ScanError | None:
    """Why slices are missing, where a file that may hold one cannot be read."""
    for member in lost:
        return member.error
    for entry in unlisted:
        if entry.kind == "file":
            hint = "Put the file there, or take the link away."
            return ScanUnreadable(f"{entry.reason}, and slices are missing", hint=hint, source=entry.path)
    return None


def _missing(lost: Sequence[StudyObject], unlisted: Sequence[UnlistedPath]) -> tuple[str, ...]:
    """Names, without their folders, of what may have been slices; a name that a folder was given is not written."""
    by_reason: dict[str, list[str]] = {}
    for member in lost:
        reason = "cannot be read" if isinstance(member.error, ScanUnreadable) else "damaged, of no series that can be told"
        by_reason.setdefault(reason, []).append(PurePath(member.source.label).name)
    for entry in unlisted:
        by_reason.setdefault(entry.reason, []).append(entry.path.name)
    return tuple(f"{reason}: {_names(names)}" for reason, names in by_reason.items())


def _names(names: Sequence[str]) -> str:
    shown = ["".join(c for c in name if c.isprintable()) for name in names[:_MOST_NAMES]]
    return ", ".join(shown) + (f" and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else "")


def _no_dicom(listing: StudyFiles, path: Path) -> UnsupportedFormat:
    if holds_nifti(listing) and not path.is_file():
        hint = "Give the NIfTI file itself."
    elif holds_nifti(listing):
        hint = "Unzip it and give the NIfTI file."
    else:
        hint = "Give a DICOM file, its folder or a .zip of it; of a DICOMDIR, the folder it lies in."
    left_out = "".join(f"; {note}" for note in _missing((), listing.unlisted))
    return UnsupportedFormat(f"no DICOM image among {len(listing.sources)} file(s){left_out}", hint=hint, source=path)


def _tilt_note(header: Header) -> str:
    """Positions decide; a tag that says otherwise is mentioned, one that says nothing readable is not."""
    try:
        tilt = numbers(header.dataset, "GantryDetectorTilt", count=1, source=header.source)
    except CorruptFile:
        return ""
    return "" if not tilt or tilt[0] == 0 else f"; GantryDetectorTilt {tilt[0]:g} is not borne out by the positions"


def _tags(header: Header, *, derived: str | None, is_missing: bool) -> HeaderTags:
    dataset = header.dataset
    contrast = text(dataset, "ContrastBolusAgent") or items(dataset, "ContrastBolusAgentSequence", source=header.source)
    age = _AGE.fullmatch(text(dataset, "PatientAge").upper())
    years = float(age[1]) * _YEARS[age[2]] if age else 0.0
    return HeaderTags(
        contrast=True if contrast else None,
        age_years=years or None,  # "000Y" is what anonymisers write
        body_part=text(dataset, "BodyPartExamined") or None,
        kernel=header.kernel or None,
        modality="CT",
        warnings=(
            *([f"The images are derived ({derived}), not a reconstruction in Hounsfield units."] if derived else []),
            *(["Files beside the series could not be read; slices of it may be missing (its notes name them)."] if is_missing else []),
        ),
    )
