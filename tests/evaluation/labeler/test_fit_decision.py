from __future__ import annotations

import numpy as np
import pytest

from thoracle.evaluation.labeler.fit_decision import _decide
from thoracle.inference.labeler.decision import AS_PUBLISHED


def test_a_network_that_knows_more_than_the_rules_is_found_better_and_the_other_way_round() -> None:
    draw = np.random.default_rng(0)
    truth = (draw.random(200) < 0.4).astype(float)
    rules = np.where(draw.random(200) < 0.2, 1 - truth, truth)
    knows = _decide(np.where(truth == 1, 3.0, -3.0) + draw.normal(size=200), rules, truth)
    assert knows.f1_classifier > 0.97 > knows.f1_rules
    assert knows.probability(3.0, 0) > knows.threshold > knows.probability(-3.0, 1)
    guesses = _decide(draw.normal(size=200), truth, truth)
    assert guesses.f1_rules == 1
    assert abs(guesses.logit) < 0.1 * guesses.rule


def test_labels_nobody_gave_are_left_out() -> None:
    truth = np.array([1.0, 0.0] * 20 + [np.nan] * 10)
    found = _decide(np.nan_to_num(truth) * 2 - 1, np.nan_to_num(truth), truth)
    assert found.f1_rules == found.f1_classifier == 1


@pytest.mark.parametrize("labelled", [0, 1, 19])
def test_a_label_that_next_to_nobody_gave_decides_as_published(labelled: int) -> None:
    truth = np.array([1.0, 0.0] * 10 + [1.0] * 20)
    truth[labelled:] = np.nan
    assert _decide(np.ones(40), np.ones(40), truth) == AS_PUBLISHED
