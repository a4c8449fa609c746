"""Heads by hand: what is pooled, and where queries look."""

from __future__ import annotations

import pytest
import torch

from thoracle.models.tokenclassifier.model import TokenHead


@pytest.mark.parametrize("kind", ["linear", "attention", "label-attention"])
def test_logits_do_not_depend_on_the_order_of_tokens(kind: str) -> None:
    torch.manual_seed(0)
    head, tokens = TokenHead(kind, 8, labels=3).eval(), torch.randn(2, 4, 2, 3, 8)
    logits = head(tokens)
    assert logits.shape == (2, 3)
    torch.testing.assert_close(head(tokens.flip(1, 2, 3)), logits)
    assert not torch.allclose(head(tokens[:, :2]), logits, atol=1e-3)


def test_a_linear_head_reads_the_mean_that_was_kept() -> None:
    torch.manual_seed(0)
    head, tokens = TokenHead("linear", 8, labels=3).eval(), torch.randn(2, 4, 2, 3, 8)
    torch.testing.assert_close(head(tokens.mean(dim=(1, 2, 3))), head(tokens))


def test_a_query_looks_where_a_token_is_like_it() -> None:
    head, tokens = TokenHead("label-attention", 4, labels=2).eval(), torch.zeros(1, 1, 2, 2, 4)
    tokens[0, 0, 1, 0] = torch.tensor([3.0, -1.0, -1.0, -1.0])
    with torch.no_grad():
        head.queries[:] = torch.tensor([[20.0, 0, 0, 0], [-20.0, 0, 0, 0]])
    attention = head.attention(tokens)
    assert attention.shape == (1, 2, 1, 2, 2)
    torch.testing.assert_close(attention.sum(dim=(2, 3, 4)), torch.ones(1, 2))
    assert attention[0, 0, 0, 1, 0] > 0.99
    assert attention[0, 1, 0, 1, 0] < 0.01
