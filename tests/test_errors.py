"""The tree that the docstring draws is the tree there is, and a message says file, detail and hint."""

from __future__ import annotations

import inspect
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

import thoracle
from tests.ct.dicom.chest_series import SLICES, make_slice
from thoracle import errors
from thoracle.cohort.manifest import open_cohort
from thoracle.cohort.prepare import prepare
from thoracle.errors import ThoracleError, TruncatedFile

CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, ThoracleError)]


def test_docstring_draws_every_class_under_its_parent() -> None:
    stack: list[str] = []
    drawn: dict[str, str | None] = {}
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^\s*?((?:│   |    |├── |└── )*)([A-Z]\w+)(?:  |$)", line)
        if match:
            depth = len(match[1]) // 4
            stack[depth:] = [match[2]]
            drawn[match[2]] = stack[depth - 1] if depth else None
    assert drawn == {c.__name__: (c.__bases__[0].__name__ if c is not ThoracleError else None) for c in CLASSES}


@pytest.mark.parametrize("kind", CLASSES)
def test_message_names_file_fact_and_cure_and_survives_a_process_border(kind: type[ThoracleError]) -> None:
    error = kind("expected 3 axes, got 5", hint="Give one volume.", source="patient.nii")
    assert str(error) == "patient.nii: expected 3 axes, got 5. Give one volume."
    assert "patient" not in error.redacted()
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert type(again) is kind
    assert str(again) == str(error)


def test_a_full_stop_is_not_doubled() -> None:
    assert str(TruncatedFile("cut.", hint="Copy it again.")) == "cut. Copy it again."


def test_what_is_written_out_holds_neither_path_nor_series_uid() -> None:
    error = ThoracleError("2 series could be meant", hint="Choose one by its UID:\n  1.2.840.1  chest\n  1.2.840.2", source="Jane Doe.zip")
    assert error.redacted() == "2 series could be meant. Choose one by its UID:"


# The example of each class, as its docstring tells it, meets that class.


def _slices(change: Callable[[int, Any], object] = lambda k, ds: None, *, count: int = SLICES) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        for k in range(count):
            ds = make_slice(k)
            change(k, ds)
            ds.save_as(folder / f"{k}.dcm", enforce_file_format=False)
        return folder

    return write


def _lose(keyword: str) -> Callable[[int, Any], object]:
    return lambda k, ds: delattr(ds, keyword)


def _place(change: Callable[[int, float, float, float], tuple[float, float, float]]) -> Callable[[int, Any], object]:
    return lambda k, ds: setattr(ds, "ImagePositionPatient", list(change(k, *map(float, ds.ImagePositionPatient))))


def _letter(folder: Path) -> Path:
    _slices(lambda k, ds: setattr(ds, "PixelSpacing", [0.7, 0.7]))(folder)
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes().replace(b"0.7\\0.7", b"0.7\\O.7"))
    return folder


def _nifti(path: Path, *, affine: Any = None, voxels: Any = None) -> Path:
    hu = np.stack([make_slice(k).pixel_array.T - 1024 for k in range(SLICES)], axis=-1).astype(np.float32) if voxels is None else voxels
    nib.save(nib.Nifti1Image(hu, np.diag([-10.0, -10.0, 20.0, 1.0]) if affine is None else affine), path)  # type: ignore[attr-defined]
    return path


def _text(folder: Path) -> Path:
    (folder / "scan.nii.gz").write_text("no scan " * 100)
    return folder / "scan.nii.gz"


def _half(folder: Path) -> Path:
    path = _nifti(folder / "scan.nii")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def _archive(name: str, size: int) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        with zipfile.ZipFile(folder / "scan.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, bytes(size))
        return folder / "scan.zip"

    return write


def _two_series(folder: Path) -> Path:
    for number in (1, 2):
        _slices(lambda k, ds, number=number: setattr(ds, "SeriesInstanceUID", f"1.2.{number}"))(folder)  # type: ignore[misc]
        for path in folder.glob("?.dcm"):
            path.rename(folder / f"{number}-{path.name}")
        for path in folder.glob("??.dcm"):
            path.rename(folder / f"{number}-{path.name}")
    return folder


def _missing(folder: Path) -> Path:
    (_slices()(folder) / "5.dcm").unlink()
    return folder


def _twice(folder: Path) -> Path:
    _slices()(folder)
    for k in range(SLICES):
        ds = make_slice(k)
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.99.{k}"
        ds.save_as(folder / f"again{k}.dcm", enforce_file_format=False)
    return folder


def _coronal(folder: Path) -> Path:
    ds = make_slice(0, SOPInstanceUID="1.2.90", ImageOrientationPatient=[1, 0, 0, 0, 0, -1])
    ds.save_as(_slices()(folder) / "coronal.dcm", enforce_file_format=False)
    return folder


def _turned(folder: Path) -> Path:
    affine = np.diag([-10.0, -10.0, 20.0, 1.0])
    cosine, sine = np.cos(np.radians(40)), np.sin(np.radians(40))
    affine[:2, :2] = -10 * np.array([[cosine, -sine], [sine, cosine]])
    return _nifti(folder / "scan.nii", affine=affine)


def _not_a_number(folder: Path) -> Path:
    voxels = np.full((20, 20, 20), -1000, np.float32)
    voxels[0, 0] = np.nan
    return _nifti(folder / "scan.nii", voxels=voxels)


def _seventeen_bits(k: int, ds: Any) -> None:
    ds.BitsStored, ds.HighBit = 17, 16


READ: dict[str, Callable[[Path], Path]] = {
    "UnsupportedFormat": _text,
    "CorruptFile": _slices(_seventeen_bits),
    "TruncatedFile": _half,
    "BudgetExceeded": _archive("scan.dcm", 70 << 20),
    "UnsafeArchive": _archive("../../slice.dcm", 10),
    "NotCT": _slices(lambda k, ds: setattr(ds, "Modality", "MR")),
    "SeriesAmbiguous": _two_series,
    "GeometryUnknown": _slices(_lose("ImagePositionPatient")),
    "GeometryInvalid": _letter,
    "GantryTilt": _slices(_place(lambda k, x, y, z: (x, y + 20 * np.tan(np.radians(15)) * k, z))),
    "SliceGap": _missing,
    "DuplicateSlices": _twice,
    "MixedSeries": _coronal,
    "ObliqueGeometry": _turned,
    "TooFewSlices": _slices(count=5),
    "HounsfieldUnknown": _slices(lambda k, ds: setattr(ds, "RescaleType", "MGML")),
    "RescaleMissing": _slices(_lose("RescaleSlope")),
    "VoxelsInvalid": _not_a_number,
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", READ)
def test_the_example_of_a_scan_meets_its_error(tmp_path: Path, name: str) -> None:
    scan = READ[name](tmp_path)
    with pytest.raises(getattr(errors, name)) as refusal:
        thoracle.read(scan)
    assert type(refusal.value).__name__ == name
    assert refusal.value.hint


def test_the_examples_of_a_path_a_table_and_a_cohort_meet_their_errors(tmp_path: Path) -> None:
    def refusal(act: Callable[[], object]) -> str:
        with pytest.raises(ThoracleError) as caught:
            act()
        return type(caught.value).__name__

    scan = _nifti(tmp_path / "scan.nii")
    (tmp_path / "rows.csv").write_text('VolumeName,XYSpacing,ZSpacing\nother.nii,"[1, 1]",2\n')
    (tmp_path / "dicom").mkdir()
    _slices()(tmp_path / "dicom")
    (tmp_path / "begun").mkdir()
    assert refusal(lambda: thoracle.read(tmp_path / "absent.nii")) == "InputError"
    assert refusal(lambda: thoracle.read(scan, metadata=tmp_path / "rows.csv")) == "MetadataError"
    assert refusal(lambda: prepare(tmp_path / "dicom", layout="ct-rate", out=tmp_path / "out")) == "LayoutMismatch"
    assert refusal(lambda: open_cohort(tmp_path / "begun")) == "CohortUnfinished"
