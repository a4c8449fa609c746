from __future__ import annotations

import re

import numpy as np
import pytest

from thoracle.phantom.cooccurrence import sample_labels
from thoracle.phantom.reporting.phrases import WORDINGS
from thoracle.phantom.reporting.report import write_report
from thoracle.types import ABNORMALITIES


def _report(seed, make_scene):
    labels = sample_labels(np.random.default_rng([seed, 1]), 1)[0]
    names = tuple(name for name, present in zip(ABNORMALITIES, labels, strict=True) if present)
    scene = make_scene(seed, *names)
    return names, write_report(np.random.default_rng([seed, 2]), scene.findings, scene.thorax.patient, step=4.0)


@pytest.fixture(scope="module")
def reports(make_scene):
    return [_report(seed, make_scene) for seed in range(60)]


def test_what_is_present_is_stated_and_what_is_absent_never(reports):
    for names, report in reports:
        stated = {a for s in report.sentences if s.section == "Findings_EN" and s.present for a in s.abnormalities}
        denied = {a for s in report.sentences if s.present is False for a in s.abnormalities}
        summed = {a for s in report.sentences if s.section == "Impressions_EN" for a in s.abnormalities}
        assert stated == set(names)
        assert not denied & set(names)
        assert summed <= set(names)
        assert bool(summed) == bool(names)


def test_each_sentence_is_found_where_it_is_said_to_be(reports):
    for _, report in reports:
        columns = {"Findings_EN": report.findings, "Impressions_EN": report.impression}
        for sentence in report.sentences:
            assert columns[sentence.section][sentence.start :].startswith(sentence.text)
            assert (sentence.present is None) == (not sentence.abnormalities)
        for section, text in columns.items():
            assert " ".join(s.text for s in report.sentences if s.section == section) == text


def test_no_place_in_a_wording_is_left_open(reports):
    for _, report in reports:
        text = f"{report.findings} {report.impression}"
        assert not re.search(r"[{}]|\(\)|None|  | \.| ,", text)


def test_reports_deny_hedge_measure_and_mistype(reports):
    text = " ".join(report.findings for _, report in reports)
    assert re.search(r"\b(No|not present|There is no)\b", text)
    assert re.search(r"\d+(x\d+)? mm", text)
    assert re.search(r"\d\.\d cm", text)
    assert "clinical correlation" in text or "compatible with" in text or "probably chronic" in text
    vocabulary = {
        word for wording in WORDINGS.values() for t in (*wording.present, *wording.absent) for word in re.findall(r"[a-z]{8,}", t)
    }
    strange = {
        word for _, r in reports for s in r.sentences if s.present is False for word in re.findall(r"[a-z]{8,}", s.text)
    } - vocabulary
    assert strange  # a typo now and then


def test_wording_and_order_vary(reports):
    assert len({report.findings for _, report in reports}) == len(reports)
    first = {report.sentences[0].text for _, report in reports}
    assert len(first) > 10
