from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from thoracle.errors import InputError
from thoracle.evaluation.detection.cases import LabelledCases, LabelTable
from thoracle.evaluation.detection.evaluate import EvaluationOptions, evaluate
from thoracle.evaluation.detection.protocols import CT_RATE_VALID, PROTOCOLS, protocol
from thoracle.evaluation.detection.report import _calibration, most_confident_errors, write_report
from thoracle.evaluation.detection.results_json import as_dict
from thoracle.types import RESEARCH_USE

Made = Callable[..., tuple[LabelledCases, LabelTable]]
QUICK = EvaluationOptions(resamples=50)


def test_no_threshold_depends_on_the_labels_that_it_decides(made: Made) -> None:
    """The published thresholds are chosen on the scored labels. Ours: a patient's labels turned round change no threshold of hers."""
    cases, table = made(patients=120)
    before = evaluate(cases, table, protocol=PROTOCOLS["phantom"], plan=QUICK)
    hers = np.array([who == "p7" for who in cases.patients])
    turned = replace(cases, truth_NK=np.where(hers[:, None], 1 - cases.truth_NK, cases.truth_NK))
    after = evaluate(turned, table, protocol=PROTOCOLS["phantom"], plan=QUICK)
    assert before.thresholds_NK is not None
    assert after.thresholds_NK is not None
    np.testing.assert_array_equal(after.thresholds_NK[hers], before.thresholds_NK[hers])
    assert (after.mended.probabilities_NK[hers] == before.mended.probabilities_NK[hers]).all()
    everyone = evaluate(replace(cases, truth_NK=1 - cases.truth_NK), table, protocol=PROTOCOLS["ct-clip-legacy"], plan=QUICK)
    published = evaluate(cases, table, protocol=PROTOCOLS["ct-clip-legacy"], plan=QUICK)
    assert (everyone.published.thresholds_K != published.published.thresholds_K).any()


def test_thresholds_of_a_split_do_not_see_the_scored_one(made: Made) -> None:
    cases, table = made(patients=200, splits=("valid", "test"))
    scored = np.array([split == "test" for split in cases.splits])
    before = evaluate(cases, table, protocol=PROTOCOLS["holdout"], plan=QUICK)
    turned = replace(cases, truth_NK=np.where(scored[:, None], 1 - cases.truth_NK, cases.truth_NK))
    after = evaluate(turned, table, protocol=PROTOCOLS["holdout"], plan=QUICK)
    np.testing.assert_array_equal(after.thresholds_NK, before.thresholds_NK)
    assert before.tuned_on.startswith("split valid: 100 patients")
    assert before.volumes == scored.sum()


def test_no_patient_is_on_both_sides_of_a_fold(made: Made) -> None:
    cases, table = made(patients=100)
    found = evaluate(cases, table, protocol=PROTOCOLS["phantom"], plan=QUICK)
    assert found.thresholds_NK is not None
    for who in set(cases.patients):
        hers = found.thresholds_NK[[one == who for one in cases.patients]]
        assert (hers == hers[0]).all()
    assert 1 < len(np.unique(found.thresholds_NK[:, 0])) <= 5


def test_the_scored_split_cannot_give_its_own_thresholds(made: Made) -> None:
    cases, table = made(splits=("valid", "test"))
    with pytest.raises(InputError, match="thresholds cannot come from test, which is scored"):
        evaluate(cases, table, protocol=PROTOCOLS["holdout"], plan=replace(QUICK, threshold_source="test"))


def test_intervals_have_a_width_which_the_published_ones_have_not(made: Made) -> None:
    cases, table = made()
    found = evaluate(cases, table, protocol=PROTOCOLS["ct-clip-legacy"], plan=QUICK)
    for label in cases.labels:
        one = found.summary.by_label[label]["auroc"]
        assert one.low < one.value < one.high
        assert found.delong[label].low < found.delong[label].value < found.delong[label].high
    assert found.thresholds_NK is None
    assert "f1" not in found.summary.by_label[cases.labels[0]]
    assert found.calibration is None


def test_scoring_by_scan_counts_each_scan_once(made: Made) -> None:
    cases, table = made(patients=90)
    volumes = evaluate(cases, table, protocol=PROTOCOLS["ct-rate"], plan=QUICK)
    scans = evaluate(cases, table, protocol=PROTOCOLS["ct-rate"], plan=replace(QUICK, level="scan"))
    assert len(volumes.scored.names) == len(cases.names)
    assert len(scans.scored.names) == 90
    assert (scans.volumes, scans.scans, scans.patients) == (len(cases.names), 90, 90)
    about = protocol("ct-rate").about
    assert all(f"{number:,}" in about for number in CT_RATE_VALID)


def test_a_label_with_one_answer_is_nan_and_named(made: Made) -> None:
    cases, table = made()
    cases.truth_NK[:, 1] = 0
    found = evaluate(cases, table, protocol=PROTOCOLS["phantom"], plan=QUICK)
    assert math.isnan(found.summary.by_label[cases.labels[1]]["auroc"].value)
    assert any(note.startswith(f"{cases.labels[1]}: the scored scans have one answer only") for note in found.notes)
    both = [found.summary.by_label[cases.labels[k]]["auroc"].value for k in (0, 2)]
    assert found.summary.average["macro_auroc"].value == pytest.approx(np.mean(both))
    values = json.loads(json.dumps(as_dict(found, model={})))
    assert values["labels"][cases.labels[1]]["own"]["auroc"]["value"] is None


def test_volumes_without_labels_are_left_out_and_counted(made: Made) -> None:
    cases, table = made()
    cases.truth_NK[:3] = np.nan
    found = evaluate(cases, table, protocol=PROTOCOLS["phantom"], plan=QUICK)
    assert found.volumes == len(cases.names) - 3
    assert "3 volumes in split valid have no labels, and are left out." in found.notes
    cases.truth_NK[:] = np.nan
    with pytest.raises(InputError, match="no volume with labels in split valid"):
        evaluate(cases, table, protocol=PROTOCOLS["phantom"], plan=QUICK)


def test_calibration_is_of_others_and_better(made: Made) -> None:
    cases, table = made(patients=400)
    found = evaluate(cases, table, protocol=PROTOCOLS["phantom"], plan=QUICK)
    assert found.calibrated is not None
    for label in cases.labels:
        own, after = found.summary.by_label[label]["brier"].value, found.calibrated.by_label[label]["brier"].value
        assert after < own
        assert found.coverages[label].absent_kept > 0.85
    assert found.calibration is not None
    assert list(found.calibration.mendings) == list(cases.labels)


def test_a_protocol_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match="There are ct-rate, ct-clip-legacy, rad-chestct, phantom, holdout"):
        protocol("ct_rate")


def test_the_worst_mistakes_are_the_surest_wrong_ones_of_unlike_scans(made: Made) -> None:
    cases, table = made()
    table.values_NK[3], cases.truth_NK[3] = (0.9999, 0.9998, 0.2), (0, 0, 0)
    table.values_NK[9], cases.truth_NK[9] = (0.9, 0.0001, 0.9), (1, 1, 1)
    alarms, misses = most_confident_errors(evaluate(cases, table, protocol=PROTOCOLS["phantom"], plan=QUICK).scored, most=4)
    assert (alarms[0].name, alarms[0].label, alarms[0].present) == (cases.names[3], cases.labels[0], False)
    assert (misses[0].name, misses[0].label, misses[0].present) == (cases.names[9], cases.labels[1], True)
    assert len({one.name for one in alarms}) == len(alarms) == 4
    assert all(one.probability >= 0.5 for one in alarms)


class _Tags(HTMLParser):
    """What a page asks for, and whether its tags are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.count: dict[str, int] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        self.asked += [value for name, value in attrs if name in ("src", "href", "xlink:href") and value]


def test_a_handful_of_scans_draws_no_share(made: Made) -> None:
    cases, table = made(patients=200)
    found = evaluate(cases, table, protocol=PROTOCOLS["phantom"], plan=QUICK)
    truth, given = found.scored.truth_NK.copy(), found.scored.probabilities_NK.copy()
    given[:, 0], truth[:, 0] = 0.25, 0.0
    given[:4, 0], truth[:4, 0] = 0.95, 1.0  # a bin of four
    given[4:9, 0], truth[4:7, 0] = 0.75, 1.0  # and one of five
    panel = _calibration(replace(found, scored=replace(found.scored, truth_NK=truth, probabilities_NK=given)), 0)
    np.testing.assert_allclose(panel.lines[0].x, [0.25, 0.75])
    np.testing.assert_allclose(panel.lines[0].y, [0.0, 0.6])


def test_the_page_needs_no_network_and_says_what_it_is_for(made: Made) -> None:
    cases, table = made()
    named = replace(cases, labels=("<b>Cardio&", *cases.labels[1:]))
    found = evaluate(named, replace(table, columns=named.labels), protocol=PROTOCOLS["phantom"], plan=QUICK)
    model = {"trained": False, "caution": "Knows only phantoms."}
    page = write_report(found, model=model, look=lambda name: np.full((4, 6, 6), -700.0)).decode()
    tags = _Tags()
    tags.feed(page)
    assert RESEARCH_USE in page
    assert "UNTRAINED WEIGHTS" in page
    assert "Knows only phantoms." in page
    assert all(one.startswith(("data:image/png;base64,", "#")) for one in tags.asked)
    assert tags.count["svg"] == 4
    assert tags.count["img"] == 12
    assert "b" not in tags.count  # names are not markup
    assert page == write_report(found, model=model, look=lambda name: np.full((4, 6, 6), -700.0)).decode()
