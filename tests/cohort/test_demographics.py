from __future__ import annotations

import pytest

from thoracle.cohort.demographics import Demographics, coarsened, facts_of


@pytest.mark.parametrize(
    ("text", "years"),
    [("045Y", 45), ("45", 45), ("45.0", 45), ("018M", 1), ("300D", 0), ("000Y", None), ("", None), ("old", None), ("-3Y", None)],
)
def test_ages(text: str, years: int | None) -> None:
    assert facts_of({"PatientAge": text}).age == years


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("20190304", "2019-03-04"),
        ("20190304.0", "2019-03-04"),
        ("2019-03-04", "2019-03-04"),
        ("2019-03", "2019-03"),
        ("2019", "2019"),
        ("4.3.19", ""),
    ],
)
def test_dates(text: str, date: str) -> None:
    assert facts_of({"StudyDate": text}).date == date


def test_sex_and_scanner() -> None:
    row = {"PatientSex": "f", "Manufacturer": " Siemens ", "ManufacturerModelName": "Force"}
    assert facts_of(row) == Demographics(sex="F", scanner="Siemens Force")
    assert facts_of({"PatientSex": "?"}) == Demographics()


def test_what_could_tell_one_patient_from_others_is_blurred() -> None:
    assert coarsened(Demographics(age=97, sex="M", date="2019-03-04", scanner="x")) == Demographics(
        age=90, sex="M", date="2019", scanner="x"
    )
    assert coarsened(Demographics()) == Demographics()
