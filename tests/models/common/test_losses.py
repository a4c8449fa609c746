"""Losses against their formulas as published, written out in float64."""

from __future__ import annotations

import math

import pytest
import torch

from thoracle.models.common.losses import (
    MOST_SCALE,
    contrastive_loss,
    logit_scale,
    pair_logits,
    positive_weights,
    sigmoid_loss,
    weighted_label_loss,
)


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("size", [2, 5])
def test_equals_the_published_formula(size: int, decoupled: bool) -> None:
    torch.manual_seed(size)
    text_to_image, image_to_text = torch.randn(2, size, size, dtype=torch.float64) * 3
    expected = 0.0
    for logits in (text_to_image, image_to_text):
        weights = logits.exp()
        below = (weights - weights.diag().diag() if decoupled else weights).sum(dim=1)
        expected += (-(weights.diag() + 1e-20).log() + (below + 1e-20).log()).mean() / 2
    assert contrastive_loss(text_to_image, image_to_text, decoupled=decoupled).item() == pytest.approx(float(expected), abs=1e-12)


@pytest.mark.parametrize(
    ("decoupled", "expected"),
    [
        # Pairs 0 and 2 are of one scan. Rows 0 and 2 meet themselves and pair 1; row 1 meets all.
        (False, (math.log(3 + 1) - math.log(3) + math.log(1 + 5 + 1) - math.log(5) + math.log(1 + 7) - math.log(7)) / 3),
        (True, (math.log(1) - math.log(3) + math.log(1 + 1) - math.log(5) + math.log(1) - math.log(7)) / 3),
    ],
)
def test_pairs_of_one_scan_are_not_each_others_negatives(decoupled: bool, expected: float) -> None:
    logits = torch.tensor([[3.0, 1.0, 9.0], [1.0, 5.0, 1.0], [9.0, 1.0, 7.0]], dtype=torch.float64).log()
    excluded = torch.tensor([[False, False, True], [False, False, False], [True, False, False]])
    assert contrastive_loss(logits, logits, decoupled=decoupled, excluded_BB=excluded).item() == pytest.approx(expected, abs=1e-12)
    one_way = contrastive_loss(logits, torch.eye(3, dtype=torch.float64) * 50, decoupled=False, excluded_BB=excluded)
    both = contrastive_loss(logits, logits, decoupled=False, excluded_BB=excluded)
    assert one_way.item() == pytest.approx(both.item() / 2, abs=1e-12), "each direction for itself"


@pytest.mark.parametrize("decoupled", [False, True])
def test_a_pair_that_is_compared_with_none_counts_as_nothing(decoupled: bool) -> None:
    logits = torch.zeros(2, 2, requires_grad=True)
    loss = contrastive_loss(logits, logits.T, decoupled=decoupled, excluded_BB=~torch.eye(2, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert logits.grad.tolist() == [[0, 0], [0, 0]]


def test_the_sigmoid_loss_does_not_ask_about_pairs_of_one_scan() -> None:
    logits, bias = torch.tensor([[2.0, 7.0], [-9.0, 1.0]], dtype=torch.float64), torch.tensor(0.5, dtype=torch.float64)
    expected = (math.log1p(math.exp(-2.5)) + math.log1p(math.exp(-1.5))) / 2
    excluded = torch.tensor([[False, True], [True, False]])
    assert sigmoid_loss(logits, bias, excluded_BB=excluded).item() == pytest.approx(expected, abs=1e-12)


def test_large_logits_do_not_overflow() -> None:
    logits = torch.tensor([[500.0, 0.0], [0.0, 500.0]])
    assert contrastive_loss(logits, logits.T).item() == 0
    assert contrastive_loss(-logits, -logits.T).item() == 500


def test_the_sigmoid_loss_is_that_of_a_loop_over_pairs() -> None:
    torch.manual_seed(0)
    logits, bias = torch.randn(4, 4, dtype=torch.float64) * 3, torch.tensor(-1.5, dtype=torch.float64)
    questions = [((1 if i == j else -1) * (logits[i, j] + bias)).item() for i in range(4) for j in range(4)]
    expected = sum(math.log1p(math.exp(-question)) for question in questions) / 4
    assert sigmoid_loss(logits, bias).item() == pytest.approx(expected, abs=1e-12)
    assert sigmoid_loss(torch.full((2, 2), 1e4), torch.tensor(0.0)).isfinite()


def test_the_scale_is_learnt_up_to_its_limit() -> None:
    at_most = torch.tensor(math.log(MOST_SCALE), dtype=torch.float64, requires_grad=True)
    logit_scale(at_most).backward()
    assert at_most.grad is not None
    assert at_most.grad.item() == pytest.approx(MOST_SCALE)
    assert logit_scale(torch.tensor(9.0)).item() == pytest.approx(MOST_SCALE)
    assert logit_scale(torch.tensor(1.0)).item() == pytest.approx(math.e)


def test_each_direction_may_have_projections_of_its_own() -> None:
    text, image, other_text, other_image = torch.randn(4, 3, 5)
    there, back = pair_logits((text, image), torch.tensor(2.0))
    assert torch.equal(back, there.T)
    there, back = pair_logits((text, image, other_text, other_image), torch.tensor(2.0))
    torch.testing.assert_close(there, 2 * text @ image.T)
    torch.testing.assert_close(back, 2 * other_image @ other_text.T)


def test_positives_weigh_as_negatives_do_over_labels_that_are_known() -> None:
    labels = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, math.nan, 1.0], [0.0, 0.0, 1.0]])
    assert positive_weights(labels).tolist() == pytest.approx([3.0, 3.0, 1 / 3])
    loss = weighted_label_loss(torch.zeros(4, 3), labels, positive_weights(labels))
    # ln 2 for each known label, times its weight where it is positive: (3 + 3) + 3 + (3 / 3 + 1)
    assert loss.item() == pytest.approx(math.log(2) * 11 / 11)
    assert weighted_label_loss(torch.zeros(1, 1), torch.tensor([[math.nan]]), torch.ones(1)).item() == 0
