"""CPU seconds to prepare 8, 16, 32 and 64 DICOM series of 12 slices that lie in one folder, as a receiver writes them.

    python bench/dicom_tree.py [--series 8 16 32 64] [--files 25000 50000 100000]

The time is that of listing the tree and reading every series, in one process; it should grow with the number of series. `--files` also
lists folders of so many tiny files, series of 100 slices each, as `detect` and as `prepare` do, each in a process of its own, and prints
the peak of memory.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from thoracle.cohort.layouts import dicom
from thoracle.ct.read import read
from thoracle.inference.batch.discover_scans import find_scans

SIDE, SLICES = 64, 12
ROOT = "1.2.826.0.1.3680043.10.999"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, nargs="+", default=[8, 16, 32, 64])
    parser.add_argument("--files", type=int, nargs="*", default=[])
    options = parser.parse_args()
    print(f"{'series':>8}{'files':>9}{'CPU s':>9}{'a series, ms':>14}")
    for count in options.series:
        with tempfile.TemporaryDirectory() as folder:
            write_series(Path(folder), count, SLICES)
            seconds = cpu_seconds(Path(folder), count)
        print(f"{count:8d}{count * SLICES:9d}{seconds:9.2f}{1000 * seconds / count:14.1f}", flush=True)
    for files in options.files:
        with tempfile.TemporaryDirectory() as folder:
            write_series(Path(folder), files // 100, 100, side=8)
            for listing in (scans_of_detect, volumes_of_prepare):
                with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as process:
                    count, seconds, peak = process.submit(listing_cost, listing, Path(folder)).result()
                assert count == files // 100
                name = listing.__name__.replace("_", " ")
                print(f"{count:8d}{files:9d}{seconds:9.2f}  {name}, peak {peak:.0f} MiB, {1e6 * seconds / files:.0f} us a file", flush=True)


def scans_of_detect(folder: Path) -> int:
    """Count the scans that `detect` would read."""
    return len(find_scans([folder]))


def volumes_of_prepare(folder: Path) -> int:
    """Count the volumes that `prepare` would read."""
    return len(dicom.find(folder).sources)


def listing_cost(listing: Callable[[Path], int], folder: Path) -> tuple[int, float, float]:
    """List a folder; CPU seconds and the peak of the process's memory in MiB go with the count."""
    start = time.process_time()
    count = listing(folder)
    return count, time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def cpu_seconds(folder: Path, count: int) -> float:
    """List a folder and read every series in it."""
    start = time.process_time()
    sources = dicom.find(folder).sources
    assert len(sources) == count
    for source in sources:
        assert read(source.path, series=source.series, files=source.files).array.shape == (SIDE, SIDE, SLICES)
    return time.process_time() - start


def write_series(folder: Path, count: int, slices: int, *, side: int = SIDE) -> None:
    """Write slices of a body in air; each series is a patient."""
    y, x = np.mgrid[:SIDE, :SIDE]
    body = ((x - 32) / 28) ** 2 + ((y - 32) / 20) ** 2 < 1
    lungs = (((x - 20) / 9) ** 2 + ((y - 32) / 12) ** 2 < 1) | (((x - 44) / 9) ** 2 + ((y - 32) / 12) ** 2 < 1)
    units = np.select([lungs, body], [-850, 40], -1000) + np.random.default_rng(0).normal(0, 12, body.shape)
    pixels = (np.clip(units, -1024, 3000) + 1024).astype(np.uint16)[:: SIDE // side, :: SIDE // side]
    for series in range(count):
        for number in range(slices):
            image(series, number, pixels).save_as(folder / f"CT.{series}.{number}", enforce_file_format=True)


def image(series: int, number: int, pixels: NDArray[np.uint16]) -> Dataset:
    """Make one slice."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, f"{ROOT}.{series}.1.{number}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.PatientID = f"{ROOT}.{series}", f"{ROOT}.{series}.1", f"patient {series}"
    ds.Modality, ds.ImageType, ds.InstanceNumber = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"], number + 1
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [-160, -160, 10 * number], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness, ds.RescaleSlope, ds.RescaleIntercept = [5, 5], 10, 1, -1024
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = *pixels.shape, 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation, ds.PixelData = 16, 16, 15, 0, pixels.tobytes()
    return ds


if __name__ == "__main__":
    main()
