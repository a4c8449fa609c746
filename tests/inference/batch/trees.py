"""Write the trees of files that scans are discovered in."""

from __future__ import annotations

from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from tests.ct.dicom.conftest import make_slice
from thoracle.inference.batch.discover_scans import ScanLocation


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def slice_of(series: str, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID, image.SeriesInstanceUID = CTImageStorage, generate_uid(), series
    image.file_meta = FileMetaDataset()
    image.file_meta.MediaStorageSOPClassUID, image.file_meta.MediaStorageSOPInstanceUID = CTImageStorage, image.SOPInstanceUID
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    pydicom.dcmwrite(path, image, enforce_file_format=True)
    return path


def series_of(folder: Path, uid: str, count: int, *, study: str = "1.9", **fields: object) -> None:
    """A series of 12 x 10 voxels, with pixels; `fields` are of every image."""
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(count):
        image = make_slice(k, series=uid)
        image.StudyInstanceUID = study
        for keyword, content in fields.items():
            setattr(image, keyword, content)
        image.save_as(folder / f"{uid}-{k}")


def names(scans: tuple[ScanLocation, ...]) -> list[str]:
    return [scan.name for scan in scans]
