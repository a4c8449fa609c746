"""An evaluation as a page: what is shown, what is left out where nothing can be said, and nothing that a name could smuggle in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np

from thoracle.evaluation.detection.cases import LabelledCases, LabelTable
from thoracle.evaluation.detection.evaluate import EvaluationOptions, evaluate
from thoracle.evaluation.detection.protocols import PROTOCOLS
from thoracle.evaluation.detection.report import (
    _calibration,
    cooccurrence_sentences,
    most_confident_errors,
    rows_of_average,
    title,
    write_report,
)
from thoracle.evaluation.detection.summary import Scores
from thoracle.metrics.bootstrap import Interval
from thoracle.types import RESEARCH_USE

Made = Callable[..., tuple[LabelledCases, LabelTable]]
QUICK = EvaluationOptions(resamples=50)


def test_the_worst_mistakes_are_the_surest_wrong_ones_of_unlike_scans(made: Made) -> None:
    cases, table = made()
    table.values_NK[3], cases.truth_NK[3] = (0.9999, 0.9998, 0.2), (0, 0, 0)
    table.values_NK[9], cases.truth_NK[9] = (0.9, 0.0001, 0.9), (1, 1, 1)
    alarms, misses = most_confident_errors(evaluate(cases, table, protocol=PROTOCOLS["ct-rate"], plan=QUICK).scored, most=4)
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
    found = evaluate(cases, table, protocol=PROTOCOLS["ct-rate"], plan=QUICK)
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
    found = evaluate(named, replace(table, columns=named.labels), protocol=PROTOCOLS["ct-rate"], plan=QUICK)
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


def test_a_label_with_one_answer_is_a_dash_and_a_note_in_the_page(made: Made) -> None:
    cases, table = made(patients=60)
    cases.truth_NK[:, 1] = 0
    page = write_report(evaluate(cases, table, protocol=PROTOCOLS["ct-rate"], plan=QUICK), model={}).decode()
    scans = len(cases.names)
    assert f"<td>{cases.labels[1]}</td><td>0</td><td>{scans}</td><td>–</td><td>–</td><td>–</td><td>–</td>" in page
    assert f"{cases.labels[1]}: the scored scans have one answer only" in page
    assert "UNTRAINED WEIGHTS" not in page
    assert "nan" not in page


def test_the_published_way_has_no_decisions_of_ours(made: Made) -> None:
    cases, table = made(patients=60)
    page = write_report(evaluate(cases, table, protocol=PROTOCOLS["ct-clip-legacy"], plan=QUICK), model={}).decode()
    assert "<h2>Decisions</h2>" not in page
    assert "calibrated" not in page.split("<h2>ROC</h2>")[0].split("<h2>All labels together</h2>")[1]
    assert "<h2>As published by CT-CLIP" in page


def test_titles_and_rows_of_a_terminal() -> None:
    assert [title(name) for name in ("auroc", "macro_auroc", "f1_micro", "recall")] == ["AUROC", "macro AUROC", "micro F1", "recall"]
    nan = float("nan")
    values = {"macro_f1": Interval(value=0.5, low=0.25, high=0.75), "f1_micro": Interval(value=nan, low=nan, high=nan)}
    assert rows_of_average(values) == [("macro F1", "0.500 (0.250 to 0.750)"), ("micro F1", "–")]


def test_what_nobody_labelled_and_what_is_even_is_no_mistake() -> None:
    scores = Scores(
        names=("a", "b", "c"),
        patients=("a", "b", "c"),
        labels=("x",),
        probabilities_NK=np.array([[0.99], [0.5], [0.4]]),
        truth_NK=np.array([[np.nan], [0.0], [1.0]]),
    )
    alarms, misses = most_confident_errors(scores)
    assert alarms == []
    assert [(error.name, error.probability, error.present) for error in misses] == [("c", 0.4, True)]
    assert most_confident_errors(scores.of(np.zeros(3, dtype=bool))) == ([], [])


def test_the_page_says_how_labels_go_together_and_what_calibrating_them_so_gives(made: Made) -> None:
    cases, table = made(patients=80, splits=("dev", "valid"))
    joint = evaluate(cases, table, protocol=PROTOCOLS["phantom"], plan=replace(QUICK, method="joint"))
    shown = write_report(joint, model={}).decode().split("<h2>Labels together</h2>")[1].split("<h2>")[0]
    assert f"correlate by {joint.cooccurrence.probabilities:.2f} (mean |r| over pairs)" in shown
    assert f"macro AUROC {joint.joint_gain['macro_auroc'].value:+.3f} (" in shown
    assert len(cooccurrence_sentences(replace(joint, joint_gain={}))) == 1
    unknown = replace(joint.cooccurrence, probabilities=np.nan, labels=np.nan, pattern=np.nan)
    assert "No two labels vary together" in cooccurrence_sentences(replace(joint, cooccurrence=unknown))[0]
