"""Losses against their formulas as published, written out in float64."""

from __future__ import annotations

import pytest
import torch

from thoracle.models.losses import contrastive_loss


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


def test_large_logits_do_not_overflow() -> None:
    logits = torch.tensor([[500.0, 0.0], [0.0, 500.0]])
    assert contrastive_loss(logits, logits.T).item() == 0
    assert contrastive_loss(-logits, -logits.T).item() == 500
