from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, precision_score, roc_curve

from thoracle.errors import InputError
from thoracle.evaluation.detection.summary import Scores
from thoracle.evaluation.detection.thresholds import published_counts, published_thresholds, youden_thresholds

Make = Callable[..., Scores]


def test_youden_is_the_top_of_the_roc_above_the_diagonal(scores: Make) -> None:
    made = scores()
    for k, threshold in enumerate(youden_thresholds(made)):
        fpr, tpr, thresholds = roc_curve(made.truth_NK[:, k], made.probabilities_NK[:, k], drop_intermediate=False)
        assert threshold == thresholds[np.argmax(tpr - fpr)]


def test_youden_by_hand() -> None:
    made = Scores(
        names=tuple("abcde"),
        patients=tuple("abcde"),
        labels=("x", "y"),
        probabilities_NK=np.array([[0.1, 0.5], [0.2, 0.5], [0.3, 0.5], [0.6, 0.5], [0.9, 0.5]]),
        truth_NK=np.array([[0, 1], [1, 1], [0, 1], [1, 1], [1, 1.0]]),
    )
    assert youden_thresholds(made)[0] == 0.6  # two of three found, none wrongly
    assert np.isnan(youden_thresholds(made)[1])
    made.truth_NK[:] = 1
    with pytest.raises(InputError, match="no label has both answers"):
        youden_thresholds(made)


def test_the_published_choice_is_a_grid_nearest_to_the_corner_and_above_not_at(scores: Make) -> None:
    made = scores(1)
    thresholds, counts = published_counts(made)
    for k, threshold in enumerate(thresholds):
        y, p = made.truth_NK[:, k], made.probabilities_NK[:, k]
        distances = {}
        for at in np.linspace(0, 1, 100):
            said = p > at
            distances[at] = np.sqrt((1 - said[y == 1].mean()) ** 2 + said[y == 0].mean() ** 2)
        assert threshold == max(at for at, distance in distances.items() if distance == min(distances.values()))
        said = p > threshold
        assert counts.f1_of_both_answers[k] == pytest.approx(f1_score(y, said, average="weighted"))
        assert counts.accuracy[k] == pytest.approx(accuracy_score(y, said))
        assert counts.precision[k] == pytest.approx(precision_score(y, said, zero_division=0))


def test_the_published_f1_is_high_where_nothing_is_found() -> None:
    """One of 20 scans has the finding, and nothing is said of any: F1 of the finding is 0, the published one 0.93."""
    made = Scores(
        names=tuple(map(str, range(20))),
        patients=tuple(map(str, range(20))),
        labels=("x",),
        probabilities_NK=np.full((20, 1), 0.5),
        truth_NK=np.array([[1.0]] + [[0.0]] * 19),
    )
    assert published_thresholds(made) == [1.0]  # all thresholds are as far from the corner; the last is taken
    _, counts = published_counts(made)
    assert counts.f1 == [0]
    assert counts.f1_of_both_answers == pytest.approx([0.926], abs=1e-3)
