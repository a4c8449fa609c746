"""The only way in: any supported scan to a `Volume`; knows which reader a file belongs to, and no format itself.

The order of judgement is fixed: is it a format we read, is its geometry sound, has it slices enough, what are its units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from thoracle.ct.dicom.reader import read_dicom
from thoracle.ct.dicom.slice_geometry import Uneven
from thoracle.ct.formats import detect_format
from thoracle.ct.geometry.affine import resolve_affine
from thoracle.ct.geometry.lps import to_lps
from thoracle.ct.hounsfield import resolve_hounsfield
from thoracle.ct.metadata import MetadataTable, lookup_metadata
from thoracle.ct.metaimage import metaimage_data_name, read_metaimage
from thoracle.ct.nifti import image_names, read_nifti
from thoracle.ct.nrrd import nrrd_data_name, read_nrrd
from thoracle.ct.stored import StoredScan
from thoracle.ct.volume import Provenance, Volume
from thoracle.errors import InputError, ScanUnreadable, TooFewSlices, UnsupportedFormat
from thoracle.types import Affine

Metadata = str | Path | Mapping[str, object] | MetadataTable
Units = Literal["auto", "stored", "rescale"]


def read(
    path: str | Path,
    *,
    metadata: Metadata | None = None,
    hu: Units = "auto",
    series: str | None = None,
    min_slices: int = 10,
    files: Sequence[Path] = (),
    uneven: Uneven = "refuse",
) -> Volume:
    """Read one chest CT.

    Args:
        path: a NIfTI, NRRD, MetaImage or DICOM file, a DICOM folder, or a .zip of one.
        metadata: CT-RATE's metadata table (CSV, looked up by file name), a JSON file with one row, or the row itself.
        hu: "auto" decides from header, row and voxels; "stored" takes the numbers as Hounsfield units; "rescale" applies what is declared.
        series: SeriesInstanceUID or a unique beginning of it, where a folder holds several; UID#1, UID#2, … of volumes under one UID.
        min_slices: fewest axial slices that are taken as a volume.
        files: where they are known, the files of a DICOM series, whose folder `path` is then not searched; or the data file of a header.
        uneven: what becomes of DICOM slices whose distance changes: "refuse", or "resample" linearly to the smallest distance.

    Returns:
        Hounsfield units in LPS order with spacing in mm, and where both came from.

    Raises:
        ScanError: the scan cannot be read, or not without guessing; the class says why.
        MetadataError: the table or row cannot be used.
        InputError: the path does not exist, or an argument makes no sense.
    """
    scan = Path(path)
    if hu not in ("auto", "stored", "rescale"):
        raise InputError(f"hu must be auto, stored or rescale, is {hu!r}", hint="Give one of the three.")
    if uneven not in ("refuse", "resample"):
        raise InputError(f"uneven must be refuse or resample, is {uneven!r}", hint="Give one of the two.")
    row = lookup_metadata(metadata, scan)
    try:
        stored = _read_stored(scan, series=series, hu=hu, min_slices=min_slices, files=files, uneven=uneven)
    except OSError as error:
        raise ScanUnreadable(f"could not be read: {error.strerror}", hint="Check permissions and the disk.", source=scan) from error
    affine, geometry = resolve_affine(stored, row=row, source=str(scan))
    _require_slices(stored, affine, min_slices, scan)
    array, hounsfield = resolve_hounsfield(stored, row=row, hu=hu, source=str(scan))
    grid = to_lps(array, affine)
    provenance = Provenance(
        sha256=stored.sha256, format=stored.format, hounsfield=hounsfield, geometry=geometry, notes=stored.repaired + grid.repaired
    )
    return Volume(array=grid.array, spacing=grid.spacing, affine=grid.affine, provenance=provenance, tags=stored.tags)


def data_names(path: Path, name: str) -> tuple[str, ...]:
    """List what the data file of a header may be called, likeliest first; none where voxels follow the header.

    Args:
        path: of the header.
        name: that the header had where the data file lay beside it; a NIfTI pair goes by it.

    Raises:
        ScanError: its format is one of headers, and it is damaged.
    """
    scan_format = detect_format(path)
    if scan_format == "nifti":
        return image_names(name)
    names = {"metaimage": metaimage_data_name, "nrrd": nrrd_data_name}
    data_name = names[scan_format](path) if scan_format in names else None
    return () if data_name is None else (data_name.removeprefix("./"),)


def _read_stored(path: Path, *, series: str | None, hu: str, min_slices: int, files: Sequence[Path], uneven: Uneven) -> StoredScan:
    if not path.exists():
        raise InputError("no such file or folder", hint="Check the path.", source=path)
    if not (path.is_dir() or path.is_file()):
        raise UnsupportedFormat("expected a file or a folder, got a device, socket or pipe", hint="Give a scan.", source=path)
    scan_format, data = "dicom" if path.is_dir() else detect_format(path), files[0] if files else None
    if scan_format == "nifti":
        return read_nifti(path, image=data)
    if scan_format == "nrrd":
        return read_nrrd(path, data=data)
    if scan_format == "metaimage":
        return read_metaimage(path, data=data)
    # A .zip too; of an unknown file it says what is missing.
    return read_dicom(path, series=series, hu=hu, min_slices=min_slices, files=files, uneven=uneven)


def _require_slices(stored: StoredScan, affine: Affine, min_slices: int, path: Path) -> None:
    axial = int(np.argmax(np.abs(affine[2, :3])))
    slices = stored.voxels.shape[axial]
    if slices < min_slices:
        raise TooFewSlices(
            f"has {slices} axial slices, at least {min_slices} are needed",
            hint="Give the whole series, or lower min_slices (--min-slices).",
            source=path,
        )
