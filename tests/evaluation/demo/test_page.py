"""The demo's page: figures worked by hand, pictures, and no name that becomes markup."""

from __future__ import annotations

import math
import re

import numpy as np

from thoracle.evaluation.demo.page import CONTRASTIVE, HISTOGRAM, Example, figures_of, write_page
from thoracle.evaluation.detection.summary import Scores
from thoracle.types import RESEARCH_USE

#: Of the first label 3 of 4 pairs are in order by one score and all by the other; the second label nobody has.
TRUTH = np.array([[1.0, 0], [1, 0], [0, 0], [0, np.nan]])
NAMES = ("a", "b", "c", "d")


def _scores(column: list[float]) -> Scores:
    probabilities = np.stack([np.array(column), np.full(4, 0.5)], axis=1)
    return Scores(names=NAMES, patients=NAMES, labels=("<label>", "nowhere"), probabilities_NK=probabilities, truth_NK=TRUTH)


SCORES = {CONTRASTIVE: _scores([0.9, 0.3, 0.4, 0.1]), HISTOGRAM: _scores([0.9, 0.8, 0.4, 0.1])}


def test_figures_are_of_each_label_and_of_those_that_have_both_answers() -> None:
    figures = figures_of(SCORES)
    assert figures.labels[CONTRASTIVE]["<label>"].value == 0.75
    assert figures.labels[HISTOGRAM]["<label>"].value == 1
    assert math.isnan(figures.labels[CONTRASTIVE]["nowhere"].value)
    assert {name: interval.value for name, interval in figures.macro.items()} == {CONTRASTIVE: 0.75, HISTOGRAM: 1}
    assert figures.positives == {"<label>": 2, "nowhere": 0}
    assert figures.negatives == {"<label>": 2, "nowhere": 3}, "an unknown label is no negative"


def test_the_page_shows_all_it_is_given_and_escapes_it() -> None:
    hu = np.full((2, 3, 4), -700.0)
    example = Example(label="<label>", scan="<scan>", probability=0.25, hu_ZHW=hu, mask_ZHW=hu > 0)
    content = write_page(
        figures_of(SCORES),
        facts=["<fact>"],
        losses={"<stage>": {1: 2.0, 2: 1.0}},
        examples=[example],
        more=["<h2>More</h2>"],
        seconds={"<stage>": 61.4, "other": 0.4},
    ).decode()
    assert RESEARCH_USE in content
    assert "a model that has never seen a patient" in content
    for name in ("label", "fact", "stage", "scan"):
        assert f"<{name}>" not in content
        assert f"&lt;{name}&gt;" in content
    assert "<td>nowhere</td><td>0</td><td>3</td><td>–</td><td>–</td>" in content
    assert "probability 0.25" in content
    assert content.count("data:image/png;base64,") == 1
    assert content.count("<svg") == 2
    assert "<h2>More</h2>" in content, "parts are markup already"
    assert "<td>all</td><td>62</td>" in content
    assert not re.search(r'(src|href)="(?!data:|#)', content), "asks for nothing from a network"
