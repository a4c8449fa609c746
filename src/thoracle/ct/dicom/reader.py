"""One CT series from a DICOM file, folder or .zip, as stored voxels; the order of judgement is series, geometry, slices, units, pixels."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from thoracle.ct.dicom.files import StudyFiles, holds_nifti, open_study_files
from thoracle.ct.dicom.frames import decimal_notes
from thoracle.ct.dicom.header import Header, items, numbers, read_header, text
from thoracle.ct.dicom.pixels import read_pixels, require_decodable, resample_padding, resample_slices
from thoracle.ct.dicom.rescale import apply_rescales, rescales_of
from thoracle.ct.dicom.series_selection import find_ct_series, select_series
from thoracle.ct.dicom.slice_geometry import Uneven, build_slice_grid
from thoracle.ct.stored import StoredScan
from thoracle.ct.volume import HeaderTags
from thoracle.errors import CorruptFile, UnsupportedFormat

_YEARS: Final = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}
_AGE: Final = re.compile(r"(\d{1,3})([DWMY])")


def read_dicom(path: Path, *, series: str | None, hu: str, min_slices: int, uneven: Uneven = "refuse") -> StoredScan:
    """Read one CT series; voxels are (column, row, slice), a transposed view of C-contiguous slices.

    Args:
        path: one file, a folder (nested, with or without DICOMDIR) or a .zip.
        series: SeriesInstanceUID or a unique beginning of it.
        hu: "stored" reads a CT without rescale as it is; any other value refuses it.
        min_slices: fewest slices that make a volume.
        uneven: "resample" makes an even stack of slices whose distance changes, linearly; "refuse" refuses them.

    Raises:
        UnsupportedFormat: no DICOM here, or an encoding without codec.
        NotCT, SeriesAmbiguous, GeometryError, RescaleMissing, CorruptFile, UnsafeArchive: see `thoracle.errors`.
        InputError: no series has the wanted UID.
    """
    with _quiet(), open_study_files(path) as listing:
        ct_series, skipped = find_ct_series(_headers(listing, path), source=str(path))
        chosen, note = select_series(ct_series, uid=series, source=str(path))
        for header in chosen.headers:
            require_decodable(header)
        grid = build_slice_grid(chosen.slices, min_slices=min_slices, source=str(path), uneven=uneven)
        scales = rescales_of(grid.slices, hu=hu, source=str(path))
        pixels = read_pixels(grid.slices)
        voxels, rescale = apply_rescales(pixels, scales, hu=hu, source=str(path))
        padding = pixels.padding
        if grid.places is not None:
            voxels = resample_slices(voxels, grid.places)
            padding = None if padding is None else resample_padding(padding, grid.places)
        return StoredScan(
            voxels=voxels.transpose(2, 1, 0),
            affine=grid.affine,
            geometry=grid.geometry + _tilt_note(chosen.headers[0]),
            rescale=rescale,
            format="DICOM multi-frame" if chosen.multiframe else "DICOM series",
            sha256=pixels.sha256,
            tags=_tags(chosen.headers[0]),
            repaired=note + skipped + listing.notes + decimal_notes(grid.slices) + pixels.notes + grid.notes,
            padding=None if padding is None else padding.transpose(2, 1, 0),
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """What matters of a header is judged here, by field; pydicom's warnings and log would repeat values, which may name a patient."""
    log = logging.getLogger("pydicom")

    def drop(record: logging.LogRecord) -> bool:
        return False

    log.addFilter(drop)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="pydicom")
            yield
    finally:
        log.removeFilter(drop)


def _headers(listing: StudyFiles, path: Path) -> list[Header]:
    headers = [header for source in listing.sources if (header := read_header(source)) is not None]
    if headers:
        return headers
    if holds_nifti(listing) and not path.is_file():
        hint = "Give the NIfTI file itself."
    elif holds_nifti(listing):
        hint = "Unzip it and give the NIfTI file."
    else:
        hint = "Give a DICOM file, its folder or a .zip of it; of a DICOMDIR, the folder it lies in."
    left_out = "".join(f", {note}" for note in listing.notes)
    raise UnsupportedFormat(f"no DICOM image among {len(listing.sources)} file(s){left_out}", hint=hint, source=path)


def _tilt_note(header: Header) -> str:
    """Positions decide; a tag that says otherwise is mentioned, one that says nothing readable is not."""
    try:
        tilt = numbers(header.dataset, "GantryDetectorTilt", count=1, source=header.source)
    except CorruptFile:
        return ""
    return "" if not tilt or tilt[0] == 0 else f"; GantryDetectorTilt {tilt[0]:g} is not borne out by the positions"


def _tags(header: Header) -> HeaderTags:
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
    )
