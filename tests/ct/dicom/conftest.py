"""A sound series of 40 slices, which the tests damage one way at a time, and how to write it to files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

SERIES_UID = "1.2.826.0.1.3680043.10.999.7"
ROWS, COLUMNS, SLICES = 12, 10, 40
ROW_MM, COLUMN_MM, STEP_MM = 0.8, 0.7, 1.25

Save = Callable[..., Path]


def stored_slice(k: int) -> NDArray[np.int16]:
    """(row, column) values that tell row, column and slice apart."""
    row, column = np.mgrid[:ROWS, :COLUMNS]
    return (k * 400 + row * 20 + column).astype(np.int16)


def make_slice(k: int, *, series: str = SERIES_UID) -> FileDataset:
    """Slice k of a head-first axial CT; it names a patient, so that tests can look for the name where it must not be."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = f"{series}.{k + 1}"
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID, ds.SeriesInstanceUID = CTImageStorage, f"{series}.{k + 1}", series
    ds.StudyInstanceUID, ds.FrameOfReferenceUID = "1.2.826.0.1.3680043.10.999.1", "1.2.826.0.1.3680043.10.999.2"
    ds.StudyDate, ds.StudyTime, ds.StudyID, ds.AccessionNumber, ds.InstanceNumber = "20200101", "120000", "1", "SECRET-77", k + 1
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "SECRET^NAME", "SECRET-42", "19500101", "O"
    ds.Modality, ds.ImageType, ds.SeriesDescription, ds.ConvolutionKernel = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"], "Chest 1.25", "B30f"
    ds.Manufacturer, ds.ReferringPhysicianName, ds.SeriesNumber = "Thoracle", "", 3
    ds.BodyPartExamined, ds.PatientAge, ds.ContrastBolusAgent = "CHEST", "061Y", "Iomeron"
    ds.ImagePositionPatient = [-100.0, -120.5, -300 + STEP_MM * k]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness = [ROW_MM, COLUMN_MM], 2.5
    ds.RescaleSlope, ds.RescaleIntercept = 1, -1024
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = ROWS, COLUMNS, 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.PixelData = stored_slice(k).tobytes()
    return ds


@pytest.fixture
def forty() -> list[FileDataset]:
    return [make_slice(k) for k in range(SLICES)]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """`save(datasets, name="series")` writes one file each, in an order that is not that of the slices, and returns the folder."""

    def write(datasets: Sequence[FileDataset], name: str = "series") -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for k, dataset in enumerate(datasets):
            dataset.save_as(folder / f"{(k * 17) % 101:03d}-{k}.dcm")
        return folder

    return write
