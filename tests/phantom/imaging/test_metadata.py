from __future__ import annotations

import csv
import gzip
import json
from collections import defaultdict
from dataclasses import replace

import nibabel
import numpy as np
import pytest

from thoracle.phantom.anatomy.patient import sample_patient
from thoracle.phantom.imaging.metadata import COLUMNS, metadata_row
from thoracle.phantom.imaging.scanner import MACHINES, StoredVolume, sample_acquisition
from thoracle.phantom.layout import nifti
from thoracle.phantom.presets import PRESETS

_STORED = StoredVolume(
    hu=np.zeros((96, 90, 61), dtype=np.int16),
    mask=np.zeros((96, 90, 61), dtype=np.uint32),
    spacing=(3.84375, 3.75, 6.0),
    origin=(-180.5, -171.25, -1203.0),
)


def _row(seed: int = 0, *, machine=MACHINES[0], sharp: bool = False) -> dict[str, str]:
    patient = sample_patient(np.random.default_rng(seed))
    acquisition = replace(sample_acquisition(np.random.default_rng(seed), patient, PRESETS["tiny"]), machine=machine)
    kernel = replace(acquisition.reconstructions[0], sharp=sharp)
    return metadata_row(
        np.random.default_rng([seed, 1]),
        name="train_1_a_1.nii.gz",
        patient=patient,
        acquisition=acquisition,
        reconstruction=kernel,
        stored=_STORED,
        date="20200308",
    )


@pytest.fixture(scope="module")
def published(data_dir):
    """The published table's rows by manufacturer."""
    rows = defaultdict(list)
    with (data_dir / "reports" / "ctrate_metadata_sample.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            rows[row["Manufacturer"]].append(row)
    return rows


def test_there_are_44_columns_in_order():
    assert len(COLUMNS) == len(set(COLUMNS)) == 44
    for machine in MACHINES:
        assert tuple(_row(machine=machine)) == COLUMNS


def test_a_row_holds_what_the_files_header_holds():
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(nifti(_STORED.hu, spacing=_STORED.spacing, origin=_STORED.origin)))
    row = _row()
    assert image.shape == (int(row["Columns"]), int(row["Rows"]), int(row["NumberofSlices"])) == (96, 90, 61)
    zooms = tuple(float(zoom) for zoom in image.header.get_zooms())
    assert (*json.loads(row["XYSpacing"]), float(row["ZSpacing"])) == zooms == (3.84375, 3.75, 6.0)
    origin = np.array([-1, -1, 1]) * image.affine[:3, 3]  # NIfTI's axes are RAS, DICOM's LPS
    assert json.loads(row["ImagePositionPatient"]) == origin.tolist() == [-180.5, -171.25, -1203]
    turn = (image.affine[:3, :3] / zooms) * np.array([[-1], [-1], [1]])
    assert json.loads(row["ImageOrientationPatient"]) == pytest.approx([*turn[:, 0], *turn[:, 1]])
    assert float(row["SliceLocation"]) == -1203
    assert float(row["ReconstructionDiameter"]) == pytest.approx(96 * 3.84375)
    assert row["VolumeName"] == "train_1_a_1.nii.gz"
    assert row["StudyDate"] == "20200308"


def test_a_row_holds_its_patient_and_its_scanner():
    for seed, machine in enumerate(MACHINES):
        patient, row = sample_patient(np.random.default_rng(seed)), _row(seed, machine=machine)
        assert (row["PatientSex"], row["PatientAge"]) == (patient.sex, f"{patient.age:03d}Y")
        assert (row["Manufacturer"], row["ManufacturerModelName"]) == (machine.manufacturer, machine.model)
        soft, sharp = (_row(seed, machine=machine, sharp=hard)["ConvolutionKernel"] for hard in (False, True))
        assert (soft, sharp) == (machine.soft[0], machine.sharp[0])


def test_rescale_is_the_vendors_as_published(published):
    for machine in MACHINES:
        row = _row(machine=machine)
        for column in ("RescaleIntercept", "RescaleSlope", "RescaleType"):
            assert {real[column] for real in published[machine.manufacturer]} == {row[column]}, (machine.manufacturer, column)


def test_what_a_vendor_never_fills_in_is_empty(published):
    for machine in MACHINES:
        real = published[machine.manufacturer]
        empty = {column for column in COLUMNS if not any(row[column] for row in real)}
        filled = {column for seed in range(20) for column, text in _row(seed, machine=machine).items() if text}
        assert not empty & filled, machine.manufacturer


def test_lists_and_numbers_are_spelt_as_published(published):
    """What is a list, a number or a word in the real column is one here."""
    for machine in MACHINES:
        row = _row(machine=machine)
        for column in COLUMNS[6:]:
            real = {_form(real[column]) for real in published[machine.manufacturer] if real[column]}
            assert not row[column] or not real or _form(row[column]) in real, (machine.manufacturer, column, row[column])


def _form(text: str) -> str:
    """Kind of a cell: how many numbers, or text."""
    try:
        values = json.loads(text.replace("'", '"'))
    except json.JSONDecodeError:
        return "text"
    if isinstance(values, list):
        return f"list of {len(values)} {'texts' if isinstance(values[0], str) else 'numbers'}"
    return "number"


def test_the_same_seed_writes_the_same_row():
    assert _row(3) == _row(3)
    assert _row(3) != _row(4)
