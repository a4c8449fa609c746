"""One CT series from a DICOM file, folder or .zip, as stored voxels; the order of judgement is series, geometry, slices, units, pixels."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np

from thoracle.ct.dicom.files import StudyFiles, holds_nifti, open_study_files
from thoracle.ct.dicom.frames import Slice
from thoracle.ct.dicom.header import Header, items, numbers, read_header, text
from thoracle.ct.dicom.pixels import read_pixels, require_decodable
from thoracle.ct.dicom.series_selection import find_ct_series, select_series
from thoracle.ct.dicom.slice_geometry import build_slice_grid
from thoracle.ct.stored import Rescale, StoredScan
from thoracle.ct.volume import HeaderTags
from thoracle.errors import CorruptFile, HounsfieldUnknown, RescaleMissing, UnsupportedFormat
from thoracle.types import StoredArray

_FIELD: Final = "RescaleSlope/RescaleIntercept"
_STATE: Final = "If the stored numbers are Hounsfield units, say so (--hu stored)."
_YEARS: Final = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}
_AGE: Final = re.compile(r"(\d{1,3})([DWMY])")


def read_dicom(path: Path, *, series: str | None, hu: str, min_slices: int) -> StoredScan:
    """Read one CT series; voxels are (column, row, slice), a transposed view of C-contiguous slices.

    Args:
        path: one file, a folder (nested, with or without DICOMDIR) or a .zip.
        series: SeriesInstanceUID or a unique beginning of it.
        hu: "stored" reads a CT without rescale as it is; any other value refuses it.
        min_slices: fewest slices that make a volume.

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
        grid = build_slice_grid(chosen.slices, min_slices=min_slices, source=str(path))
        scales = _rescales(grid.slices, hu=hu, source=str(path))
        stored, sha256 = read_pixels(grid.slices)
        voxels, rescale = _rescaled(stored, scales)
        return StoredScan(
            voxels=voxels.transpose(2, 1, 0),
            affine=grid.affine,
            geometry=grid.geometry + _tilt_note(chosen.headers[0]),
            rescale=rescale,
            format="DICOM multi-frame" if chosen.multiframe else "DICOM series",
            sha256=sha256,
            tags=_tags(chosen.headers[0]),
            repaired=note + skipped + listing.notes,
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


def _rescales(slices: Sequence[Slice], *, hu: str, source: str) -> tuple[tuple[float, float], ...] | None:
    """Slope and intercept of each slice; None where there are none and none are needed."""
    scales = tuple(s.rescale for s in slices if s.rescale is not None)
    if len(scales) < len(slices):
        if hu == "stored":
            return None
        raise RescaleMissing(
            f"RescaleSlope or RescaleIntercept is absent in {len(slices) - len(scales)} of {len(slices)} slices",
            hint=_STATE,
            source=source,
        )
    if any(slope == 0 for slope, _ in scales) and hu != "stored":
        raise HounsfieldUnknown("RescaleSlope is 0", hint=_STATE, source=source)
    return None if hu == "stored" and len(set(scales)) > 1 else scales


def _rescaled(stored: StoredArray, scales: tuple[tuple[float, float], ...] | None) -> tuple[StoredArray, Rescale | None]:
    """One pair for all slices is left to be judged with the voxels; pairs that vary by slice can only be applied here."""
    if scales is None:
        return stored, None
    if len(set(scales)) == 1:
        return stored, Rescale(slope=scales[0][0], intercept=scales[0][1], source=_FIELD)
    integral = all(number == int(number) for scale in scales for number in scale) and np.issubdtype(stored.dtype, np.integer)
    scaled = np.empty(stored.shape, np.float32)
    for k, (slope, intercept) in enumerate(scales):
        scaled[k] = stored[k] * np.float64(slope) + intercept
    if integral and abs(float(scaled.min())) < 2**15 and abs(float(scaled.max())) < 2**15:
        scaled = scaled.astype(np.int16)
    return scaled, Rescale(slope=1.0, intercept=0.0, source=f"{_FIELD} of each slice")


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
