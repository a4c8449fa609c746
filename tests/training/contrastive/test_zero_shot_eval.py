"""The figures of labels that a run is evaluated by."""

from __future__ import annotations

import pytest
import torch

from thoracle.training.contrastive.zero_shot_eval import label_aurocs, rank_batches
from thoracle.training.engine.distributed import World
from thoracle.types import ABNORMALITIES


def _columns(*columns: list[float]) -> torch.Tensor:
    """(V, K), with the last columns 0."""
    filled = torch.zeros(len(columns[0]), len(ABNORMALITIES))
    filled[:, : len(columns)] = torch.tensor(columns).T
    return filled


def test_labels_with_both_answers_have_a_figure_and_the_mean_is_of_them() -> None:
    nan = float("nan")
    scores = _columns([1.0, 2, 3, 4], [1, 2, 2, 3], [1, 2, 3, 4], [1, nan, 3, 4])
    labels = _columns([0.0, 1, 0, 1], [0, 1, 0, 1], [1, 1, nan, 1], [0, nan, 1, 1])
    figures = label_aurocs(scores, labels)
    assert figures == {
        "macro_auroc": pytest.approx((3 / 4 + 3.5 / 4 + 1) / 3),
        ABNORMALITIES[0]: 3 / 4,
        ABNORMALITIES[1]: 3.5 / 4,
        ABNORMALITIES[3]: 1.0,  # the volume that nobody labelled is not counted
    }
    assert next(iter(figures)) == "macro_auroc"


def test_a_run_that_diverged_has_no_figure_of_its_labels() -> None:
    scores, labels = _columns([1.0, 2], [float("nan"), 2]), _columns([0.0, 1], [0, 1])
    assert label_aurocs(scores, labels) == {"macro_auroc": 1.0, ABNORMALITIES[0]: 1.0}
    assert label_aurocs(scores[:, [1] * len(ABNORMALITIES)], labels) == {}


@pytest.mark.parametrize(("count", "size"), [(7, 2), (3, 8), (8, 4), (1, 3)])
def test_ranks_share_all_volumes_however_many_they_are(count: int, size: int) -> None:
    shares = [rank_batches(count, World(rank=rank, size=size, device=torch.device("cpu")), batch=2) for rank in range(size)]
    assert [index for share in shares for batch in share for index in batch][:count] == list(range(count))
    assert len({tuple(len(batch) for batch in share) for share in shares}) == 1, "all ranks take as many steps"
