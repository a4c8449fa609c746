"""What an index keeps of a volume, and filters that are refused where they mean nothing."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thoracle.cohort.reports import Report
from thoracle.errors import InputError
from thoracle.search.record import Filters, IndexedVolume, Record, hash_report
from thoracle.types import ABNORMALITIES


def _record(**values: Any) -> Record:
    return Record(**{"volume": "v", "scan": "s", "accession": "a", "patient": "p"} | values)


@given(labels=st.tuples(*[st.sampled_from([0, 1, None])] * 18))
def test_findings_are_the_labels_that_are_present(labels: tuple[int | None, ...]) -> None:
    assert _record(labels=labels).findings == tuple(ABNORMALITIES[n] for n in range(18) if labels[n] == 1)


def test_a_record_that_says_no_more_than_its_names_has_no_findings() -> None:
    record = _record()
    assert (record.findings, record.split, record.report.findings, record.facts.age) == ((), "", "", None)
    assert record.labels == (None,) * 18
    with pytest.raises(ValueError, match="zip"):
        _ = _record(labels=(1, 0)).findings


def test_records_are_compared_by_what_they_say_and_volumes_by_which_they_are() -> None:
    assert _record(source_sha256="x") == _record(source_sha256="x") != _record(source_sha256="y")
    volume = IndexedVolume(record=_record(), latent_L=np.ones(2, np.float32))
    assert volume.thumbnail == b""
    assert volume == volume != IndexedVolume(record=_record(), latent_L=np.ones(2, np.float32))


def test_no_filter_is_false_and_any_is_true() -> None:
    assert not Filters()
    for values in (
        {"present": ("Lung nodule",)},
        {"absent": ("Lung nodule",)},
        {"age_from": 0},
        {"age_to": 0},
        {"sex": "O"},
        {"date_from": "2019"},
        {"date_to": "2019-03-04"},
        {"scanner": "GE"},
        {"split": "valid"},
    ):
        assert Filters(**values), values


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"present": ("Lung nodule", "Gout")}, "no label 'Gout'.*There are Medical material, Arterial wall calcification"),
        ({"absent": ("lung nodule",)}, "no label 'lung nodule'"),
        ({"sex": "female"}, "sex must be F, M or O, is 'female'"),
        ({"sex": "f"}, "sex must be F, M or O"),
        ({"date_from": "4.3.2019"}, "expected a date like 2019, 2019-03 or 2019-03-04, got '4.3.2019'"),
        ({"date_to": "2019-3"}, "expected a date"),
        ({"date_to": "2019-03-04 12:00"}, "expected a date"),
        ({"date_to": "2019-03-04\n"}, "expected a date"),
        ({"date_from": "２０１９"}, "expected a date"),
        ({"date_from": "2019-13-99"}, "expected a date like .* got '2019-13-99'"),
        ({"date_to": "2019-02-29"}, "expected a date"),
        ({"date_to": "2019-00"}, "expected a date"),
        ({"date_from": "0000"}, "expected a date"),
        ({"date_from": "2020", "date_to": "2019-12"}, "no date is from 2020 to 2019-12.*the earlier date first"),
        ({"date_from": "2019-03-05", "date_to": "2019-03-04"}, "no date is from"),
        ({"age_from": 60, "age_to": 40}, "no age is between 60 and 40.*the younger age first"),
        ({"age_from": 60, "age_to": 0}, "no age is between 60 and 0"),
        ({"age_from": 151}, "no age is between 151 and 150"),
        ({"age_to": 999}, "no age is between 0 and 999"),
        ({"age_from": -1}, "no age is between -1 and 150"),
        ({"present": ("Emphysema",), "absent": ("Emphysema",)}, "no record is labelled with Emphysema and without it"),
    ],
)
def test_filters_that_mean_nothing_are_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Filters(**values)


def test_filters_at_the_edge_are_taken() -> None:
    for values in (
        {"age_from": 40, "age_to": 40},
        {"date_from": "2019-03-04", "date_to": "2019-03-04"},
        {"date_from": "2019-05", "date_to": "2019"},
        {"date_from": "2020-02-29", "date_to": "2020-02"},
        {"present": ("Emphysema",), "absent": ("Lung nodule",)},
    ):
        assert Filters(**values), values


def test_reports_of_the_same_words_have_one_hash_however_they_are_spaced() -> None:
    words = sha256(b"No pleural effusion. Normal").hexdigest()
    for text in ("No pleural effusion. Normal", " No pleural\n effusion.\t(Normal)\n"):
        assert hash_report(text) == words
    assert _record(report=Report(findings="No pleural effusion.", impression='"Normal"')).report_sha256 == words
    for text in ("", " \n", "Not given.", '""'):
        assert hash_report(text) == ""
