"""The codebook against one-hot matrices, and its moving average against a loop over codes."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from thoracle.models.ctclip import codebook as module
from thoracle.models.ctclip.codebook import Codebook


@settings(max_examples=30, deadline=None)
@given(b=st.integers(1, 3), n=st.integers(1, 9), k=st.integers(1, 11), seed=st.integers(0, 2**20))
def test_codes_are_those_of_one_hot_matrices(naive: ModuleType, b: int, n: int, k: int, seed: int) -> None:
    book, x = _book(k, seed), torch.randn(b, n, 6).double()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TOKENS_AT_ONCE", 4)
        got = book.eval()(x)
    codes, indices = naive.codebook(book.embed[0], x)
    assert torch.equal(got.indices_BN, indices)
    torch.testing.assert_close(got.codes_BND, codes)


def test_first_code_wins_a_tie() -> None:
    book = _book(300, 0)
    book.embed[0, [7, 90, 299]] = book.embed[0, 7].clone()
    assert book.eval()(book.embed[:, 299:] * 3).indices_BN.item() == 7


@settings(max_examples=20, deadline=None)
@given(n=st.integers(1, 20), k=st.integers(2, 9), seed=st.integers(0, 2**20))
def test_codes_move_as_published(n: int, k: int, seed: int) -> None:
    book, x = _book(k, seed), torch.randn(2, n, 6).double()
    embed, sizes = book.embed[0].clone(), book.cluster_size[0].clone()
    indices = book.train()(x).indices_BN.flatten()
    tokens = F.normalize(x.flatten(0, 1), dim=-1)
    for code in range(k):
        mine = tokens[indices == code]
        target = F.normalize(mine.mean(dim=0) if len(mine) else embed[code], dim=-1)
        torch.testing.assert_close(book.embed[0, code], embed[code] + 0.2 * (target - embed[code]))
        torch.testing.assert_close(book.cluster_size[0, code], sizes[code] + 0.2 * (len(mine) - sizes[code]))


def test_codes_are_taken_before_they_move_and_the_gradient_passes_through() -> None:
    book, x = _book(5, 1), torch.randn(1, 8, 6).double().requires_grad_()
    embed = book.embed[0].clone()
    got = book.train()(x)
    torch.testing.assert_close(got.codes_BND[0], embed[got.indices_BN[0]])
    assert not torch.equal(book.embed[0], embed)
    got.codes_BND.sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


def test_a_batch_in_parts_moves_the_codes_once_as_the_whole_batch_does() -> None:
    whole, parts, x = _book(5, 1), _book(5, 1), torch.randn(4, 8, 6).double()
    whole.train()(x)
    told: list[tuple[Tensor, Tensor]] = []
    parts.train().on_assignment = lambda counts_K, sums_KD: told.append((counts_K, sums_KD))
    for part in x.split(2):
        parts(part)
    assert torch.equal(parts.embed, _book(5, 1).embed)
    parts.update_ema(told[0][0] + told[1][0], told[0][1] + told[1][1])
    torch.testing.assert_close(parts.embed, whole.embed)
    torch.testing.assert_close(parts.cluster_size, whole.cluster_size)


def test_codes_stay_in_evaluation() -> None:
    book = _book(5, 2).eval()
    embed = book.embed.clone()
    book(torch.randn(1, 8, 6).double())
    assert torch.equal(book.embed, embed)


def test_lower_precision_around_it_does_not_reach_it() -> None:
    book, x = Codebook(dim=64, size=512).eval(), torch.randn(1, 400, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = book(x)
    assert under.codes_BND.dtype == torch.float32
    assert torch.equal(under.indices_BN, book(x).indices_BN)


def _book(size: int, seed: int) -> Codebook:
    """Rows of unlike norms and used counts, as after some training."""
    torch.manual_seed(seed)
    book = Codebook(dim=6, size=size).double()
    book.embed.mul_(torch.rand(size, 1) * 0.3 + 0.7)
    book.cluster_size.copy_(torch.rand(1, size) * 9)
    return book
