from __future__ import annotations

import random

import pytest

from thoracle.cohort.preparation.visits import ScanTime, number_visits, study_time


@pytest.mark.parametrize(
    ("date", "time", "moment"),
    [
        ("20190304", "101500", ("2019-03-04", "101500")),
        ("2019-03-04", "10:15:00.25", ("2019-03-04", "101500.25")),
        ("20190304", "1015", ("2019-03-04", "101500")),
        ("20190304", "", ("2019-03-04", "")),
        ("20190304", "noon", ("2019-03-04", "")),
        ("2019", "101500", ("", "")),
        ("", "101500", ("", "")),
    ],
)
def test_a_moment_is_a_full_date_and_where_it_is_told_a_time(date: str, time: str, moment: tuple[str, str]) -> None:
    assert study_time({"StudyDate": date, "StudyTime": time}) == moment


def _scans(*moments: tuple[str, str, str], patient: str = "p") -> list[ScanTime]:
    return [ScanTime(patient=patient, scan=scan, date=date, time=time) for scan, date, time in moments]


def test_scans_are_numbered_by_time_whatever_they_are_called_and_however_they_are_listed() -> None:
    scans = _scans(("z", "2018-01-02", ""), ("a", "2020-01-02", ""), ("m", "2019-12-31", "235959"))
    for seed in range(6):
        shuffled = random.Random(seed).sample(scans, 3)
        assert number_visits(shuffled, before={}) == {("p", "z"): 1, ("p", "m"): 2, ("p", "a"): 3}


def test_two_patients_are_numbered_apart_though_their_scans_are_called_alike() -> None:
    scans = [*_scans(("1", "2020-01-02", ""), ("2", "2018-01-02", "")), *_scans(("1", "2015-01-02", ""), patient="q")]
    assert number_visits(scans, before={}) == {("p", "1"): 2, ("p", "2"): 1, ("q", "1"): 1}


def test_scans_of_one_day_share_a_number_unless_all_tell_their_time() -> None:
    told = _scans(("a", "2020-01-02", "140000"), ("b", "2020-01-02", "093000.5"), ("c", "2021-01-01", ""))
    assert number_visits(told, before={}) == {("p", "b"): 1, ("p", "a"): 2, ("p", "c"): 3}
    untold = _scans(("a", "2020-01-02", "140000"), ("b", "2020-01-02", ""), ("c", "2021-01-01", ""))
    assert number_visits(untold, before={}) == {("p", "a"): 1, ("p", "b"): 1, ("p", "c"): 2}


def test_a_scan_without_a_date_has_no_number() -> None:
    assert number_visits(_scans(("a", "2020-01-02", ""), ("b", "", "")), before={}) == {("p", "a"): 1}


def test_volumes_of_one_scan_count_once_by_the_earliest() -> None:
    scans = _scans(("a", "2020-01-02", "100000"), ("a", "2020-01-02", "095900"), ("b", "2020-01-02", "095930"), ("a", "", ""))
    assert number_visits(scans, before={}) == {("p", "a"): 1, ("p", "b"): 2}


def test_numbers_from_before_stay_where_a_date_is_gone_and_all_are_known() -> None:
    scans = _scans(("a", "", ""), ("b", "2020-01-02", ""))
    assert number_visits(scans, before={("p", "a"): 1, ("p", "b"): 2}) == {("p", "a"): 1, ("p", "b"): 2}
    scans += _scans(("c", "2019-01-02", ""))
    assert number_visits(scans, before={("p", "a"): 1, ("p", "b"): 2}) == {("p", "c"): 1, ("p", "b"): 2}, "where a lies nobody knows"
