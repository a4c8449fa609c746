"""The layers against a naive rendering, in float64 so that only meaning can differ; sizes all unlike, drawn by hypothesis."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thoracle.models.ctclip import layers
from thoracle.models.ctclip.config import CTViTConfig
from thoracle.models.ctclip.layers import PositionBias, Stack

#: Batch, time and grid, no two of them alike.
UNLIKE = st.tuples(*[st.integers(1, 5)] * 4).filter(lambda sizes: len(set(sizes)) == 4)


@settings(max_examples=30, deadline=None)
@given(h=st.integers(1, 6), w=st.integers(1, 6), heads=st.integers(1, 3))
def test_bias_on_distinct_offsets_is_the_bias_of_every_pair(naive: ModuleType, h: int, w: int, heads: int) -> None:
    bias = PositionBias(7, heads).double()
    weights = {key.removeprefix("net."): value for key, value in bias.state_dict().items()}
    torch.testing.assert_close(bias((h, w)), naive.position_bias(weights, (h, w)), rtol=1e-10, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(shape=UNLIKE, heads=st.integers(1, 3), seed=st.integers(0, 2**20), spatial=st.booleans(), grad=st.booleans())
def test_stack_is_the_naive_stack(naive: ModuleType, shape: tuple[int, ...], heads: int, seed: int, spatial: bool, grad: bool) -> None:
    torch.manual_seed(seed)
    B, T, h, w = shape
    config = CTViTConfig(dim=8, heads=heads, dim_head=4)
    stack = Stack(config.dim, depth=2, heads=heads, dim_head=config.dim_head).double().train(grad)
    _scatter(stack)
    x = torch.randn(B * T, h * w, 8).double() if spatial else torch.randn(B * h * w, T, 8).double()
    bias = torch.randn(heads, h * w, h * w).double() if spatial else None
    with torch.set_grad_enabled(grad), pytest.MonkeyPatch.context() as patch:
        patch.setattr(layers, "TOKENS_AT_ONCE", 2 * x.shape[1])
        got = stack(x.clone(), shape=(B, T, h, w), bias_HNN=bias)
    torch.testing.assert_close(got, naive.stack(stack.state_dict(), config, x, (*shape, 8), bias), rtol=1e-9, atol=1e-10)


def test_input_is_left_as_it_was() -> None:
    stack = Stack(8, depth=1, heads=2, dim_head=4).eval()
    x = torch.randn(2, 6, 8)
    before = x.clone()
    with torch.no_grad():
        stack(x, shape=(1, 2, 2, 3))
    assert torch.equal(x, before)


class TestCachedBias:
    @pytest.fixture
    def bias(self) -> PositionBias:
        return PositionBias(8, 2).eval()

    def test_is_the_same_tensor_twice(self, bias: PositionBias) -> None:
        with torch.no_grad():
            assert bias((3, 4)) is bias((3, 4))

    def test_follows_loaded_weights(self, bias: PositionBias) -> None:
        other = PositionBias(8, 2).eval()
        with torch.no_grad():
            bias((3, 4))
            bias.load_state_dict(other.state_dict(), assign=True)
            assert torch.equal(bias((3, 4)), other((3, 4)))

    def test_follows_weights_changed_in_place(self, bias: PositionBias) -> None:
        with torch.no_grad():
            first = bias((3, 4))
            bias.net[2].bias.add_(1)
            torch.testing.assert_close(bias((3, 4)), first + 1)

    def test_follows_grid_and_type(self, bias: PositionBias) -> None:
        with torch.no_grad():
            assert bias((3, 4)).shape == (2, 12, 12)
            assert bias((4, 5)).shape == (2, 20, 20)
            assert bias.double()((4, 5)).dtype == torch.float64

    def test_has_a_gradient_where_one_is_wanted(self, bias: PositionBias) -> None:
        with torch.no_grad():
            bias((3, 4))
        bias((3, 4)).sum().backward()
        assert bias.net[0][0].weight.grad is not None


def _scatter(module: torch.nn.Module) -> None:
    """Every tensor random, norms and scales too, so that none is neutral."""
    with torch.no_grad():
        for value in module.state_dict().values():
            value.copy_(torch.randn(value.shape))
