"""A synthetic chest as a DICOM series of few small slices, whose Hounsfield units are known voxel by voxel."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

SIDE, SLICES = 32, 12
MM, STEP_MM = 10.0, 20.0
INTERCEPT = -1024


def _chest() -> NDArray[np.int16]:
    y, x = np.mgrid[:SIDE, :SIDE] * 64 / SIDE
    body = ((x - 32) / 28) ** 2 + ((y - 32) / 20) ** 2 < 1
    lungs = (((x - 20) / 9) ** 2 + ((y - 32) / 12) ** 2 < 1) | (((x - 44) / 9) ** 2 + ((y - 32) / 12) ** 2 < 1)
    units = np.where(lungs, -850, np.where(body, 40, -1000)) + np.zeros((SLICES, 1, 1))
    units[3:6, 10:16, 8:11] = 30  # a mass in the patient's right lung, so that no turn of the chest is the chest
    units[2:9, 24:26, 15:17] = 700  # the spine, behind
    return np.clip(units + np.random.default_rng(0).normal(0, 12, units.shape), -1020, 3000).astype(np.int16)


#: (slice, row, column) of the pristine series.
HU: NDArray[np.int16] = _chest()


def offset(k: int) -> NDArray[np.uint16]:
    """Slice k as scanners store it, air at about 24."""
    return (HU[k].astype(np.int32) - INTERCEPT).astype(np.uint16)


def make_slice(k: int, stored: NDArray[np.generic] | None = None, *, bits: int = 16, signed: bool = False, **tags: object) -> FileDataset:
    """Slice k with these pixels (uint16 and intercept -1024 by default); `tags` replace or, as None, remove fields."""
    pixels = offset(k) if stored is None else stored
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (
        ExplicitVRLittleEndian,
        CTImageStorage,
        f"1.2.{k + 1}",
    )
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID, ds.SeriesInstanceUID, ds.StudyInstanceUID = CTImageStorage, f"1.2.{k + 1}", "1.2.3.4", "1.2.3"
    ds.Modality, ds.ImageType, ds.InstanceNumber, ds.PatientID = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"], k + 1, "p"
    ds.ImagePositionPatient = [-160.0, -160.0, STEP_MM * k]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness = [MM, MM], STEP_MM
    ds.Rows, ds.Columns = pixels.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8 * pixels.dtype.itemsize, bits, bits - 1, int(signed)
    ds.RescaleSlope, ds.RescaleIntercept = 1, INTERCEPT
    ds.PixelData = pixels.tobytes()
    for name, content in tags.items():
        if content is None:
            delattr(ds, name)
        else:
            setattr(ds, name, content)
    return ds


def write_series(folder: Path, make: Callable[[int], FileDataset], slices: Iterable[int] = range(SLICES)) -> Path:
    """Write `make(k)` of each slice to a file of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for k in slices:
        make(k).save_as(folder / f"{k:03d}.dcm", enforce_file_format=False)
    return folder
