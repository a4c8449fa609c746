from __future__ import annotations

import csv
from ast import literal_eval

import numpy as np
import pytest

from thoracle.phantom.anatomy.patient import sample_patient, sample_position
from thoracle.phantom.anatomy.thorax import Thorax
from thoracle.phantom.imaging.field_of_view import sample_aligned_field, sample_field
from thoracle.phantom.presets import PRESETS

_PERCENTILES = (2, 10, 50, 90, 98)


@pytest.fixture(scope="module")
def people():
    people = [sample_patient(np.random.default_rng([4, i])) for i in range(1200)]
    return [sample_position(np.random.default_rng([5, i]), person) for i, person in enumerate(people)]


@pytest.fixture(scope="module")
def fields(people):
    return [sample_field(np.random.default_rng([6, i]), person) for i, person in enumerate(people)]


@pytest.fixture(scope="module")
def real(data_dir):
    """Width of the field, coverage and the field's centre across of each real row, mm, with the patient's sex."""
    with (data_dir / "reports" / "ctrate_metadata_sample.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    width = np.array([literal_eval(row["XYSpacing"])[0] * float(row["Columns"]) for row in rows])
    coverage = np.array([float(row["NumberofSlices"]) * float(row["ZSpacing"]) for row in rows])
    across = np.array([literal_eval(row["ImagePositionPatient"])[0] for row in rows]) + width / 2
    return width, coverage, across, np.array([row["PatientSex"] for row in rows])


def test_widths_and_coverages_are_those_of_real_rows(real, fields):
    width, coverage, across, _ = real
    assert np.percentile([f.width for f in fields], _PERCENTILES) == pytest.approx(np.percentile(width, _PERCENTILES), abs=9)
    assert np.percentile([f.coverage for f in fields], _PERCENTILES) == pytest.approx(np.percentile(coverage, _PERCENTILES), abs=14)
    centres = np.array([f.middle[0] + f.body[0] for f in fields])
    assert centres.std() == pytest.approx(across.std(), abs=1.5)
    assert np.mean(centres) == pytest.approx(across.mean(), abs=2)


def test_women_and_men_differ_as_in_real_rows(real, people, fields):
    width, coverage, _, sex = real
    for values, name in ((width, "width"), (coverage, "coverage")):
        men, women = (np.median([getattr(f, name) for f, p in zip(fields, people, strict=True) if p.sex == s]) for s in "MF")
        assert men - women == pytest.approx(np.median(values[sex == "M"]) - np.median(values[sex == "F"]), abs=12)


@pytest.mark.slow
def test_lungs_lie_anywhere_in_the_field_and_few_are_cut(people, fields):
    """The middle of the lungs is spread over the field by more than the 4 to 6 mm of aligned phantoms."""
    assert np.std([f.middle[0] for f in fields]) > 12
    assert np.std([f.middle[1] for f in fields]) > 15
    assert np.std([f.middle[2] for f in fields]) > 10
    tops, ends = zip(*(_margins(f, p) for f, p in zip(fields, people, strict=True)), strict=True)
    assert np.mean(np.array(tops) < -4) == pytest.approx(0.04, abs=0.02), "apices that are cut"
    assert np.mean(np.array(ends) < -4) == pytest.approx(0.07, abs=0.03), "bases that are cut"
    assert np.percentile(tops, 98) <= 60, "no scan goes far into the head"
    assert min(tops) >= -30
    assert min(ends) >= -36


def _margins(field, patient) -> tuple[float, float]:
    """How far the scan goes beyond the lungs above and below, mm, from the lungs as they are painted."""
    x, y = np.arange(-126, 127, 6.0)[:, None, None], np.arange(-100, 101, 6.0)[None, :, None]
    z = np.arange(-230, 115, 2.0)[None, None, :]
    lung = (Thorax(patient=patient, heart=patient.heart).lung(x, y, z) < 0).any(axis=(0, 1))
    low, high = z.ravel()[lung][[0, -1]] * patient.scale[2]
    return field.middle[2] + field.coverage / 2 - float(high), float(low) - field.middle[2] + field.coverage / 2


def test_the_sides_of_the_lungs_are_in_the_field(people, fields):
    for field, person in zip(fields, people, strict=True):
        half = 126 * person.scale[0]
        if field.width / 2 >= half:
            assert abs(field.middle[0]) + half <= field.width / 2 + 1e-6


def test_aligned_fields_are_as_they_were(people):
    """Of format 3: 323 to 415 mm wide, 240 to 276 mm long, all chests alike in them."""
    fields = [sample_aligned_field(np.random.default_rng([7, i]), p, PRESETS["tiny"]) for i, p in enumerate(people[:600])]
    assert 322 < min(f.width for f in fields) < max(f.width for f in fields) < 415
    assert {f.coverage for f in fields} == {4.0 * slices for slices in range(60, 70)}
    assert np.std([f.middle[2] for f in fields]) == pytest.approx(4, abs=0.5)
    assert {f.body for f in fields} == {(0.0, 0.0)}
