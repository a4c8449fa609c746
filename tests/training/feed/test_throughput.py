"""Seconds that are waited, by a clock that is told the time; arithmetic of layers whose operations are known."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from thoracle.training.feed import throughput as module
from thoracle.training.feed.throughput import ArithmeticMeter, WaitClock, peak_flops

CPU = torch.device("cpu")


def test_a_clock_counts_what_items_take_and_not_what_is_done_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(module.time, "perf_counter", lambda: now)

    def slow() -> Iterator[int]:
        nonlocal now
        for number in (2, 3):
            now += number
            yield number
        now += 4

    clock = WaitClock()
    items = clock.timed(slow())
    assert next(items) == 2
    now += 100.0
    assert clock.lap() == 2.0
    assert clock.lap() == 0.0
    assert next(items) == 3
    assert list(items) == []
    assert clock.lap() == 3.0 + 4.0


def test_closing_a_timed_generator_closes_what_it_times() -> None:
    closed = []

    def generator() -> Iterator[int]:
        try:
            yield 1
        finally:
            closed.append(True)

    items = WaitClock().timed(generator())
    next(items)
    items.close()
    assert closed == [True]


def test_arithmetic_is_counted_in_the_first_step_forward_and_backward(monkeypatch: pytest.MonkeyPatch) -> None:
    """A map of 8 to 16 on 4 rows is 2 x 4 x 8 x 16 operations; backward as many for its weights, none for an input without gradient."""
    monkeypatch.setattr(module, "peak_flops", lambda device, dtype: 1e4 if dtype == torch.float32 else 2e4)
    layer = nn.Linear(8, 16, bias=False)
    for dtype, peak in ((torch.float32, 1e4), (torch.bfloat16, 2e4)):
        meter = ArithmeticMeter(CPU, dtype)
        with meter.counting():
            layer(torch.zeros(4, 8)).sum().backward()
        assert meter.utilization(2.0) == pytest.approx(2 * 1024 / 2.0 / peak)
        with meter.counting():
            layer(torch.zeros(400, 8))
        assert meter.utilization(2.0) == pytest.approx(2 * 1024 / 2.0 / peak)


@pytest.mark.parametrize("checkpointed", [False, True])
def test_operations_are_those_that_torchs_own_counter_counts(checkpointed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention and a convolution, twice forward where the layer is computed again."""
    monkeypatch.setattr(module, "peak_flops", lambda device, dtype: 1.0)
    attention = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    convolution = nn.Conv1d(5, 5, 3, padding=1)

    def step() -> None:
        x = torch.ones(2, 5, 16, requires_grad=True)
        y = checkpoint(attention, x, use_reentrant=False) if checkpointed else attention(x)
        convolution(y).sum().backward()

    meter = ArithmeticMeter(CPU, torch.float32)
    with meter.counting():
        step()
    with FlopCounterMode(display=False) as expected:
        step()
    assert meter.utilization(1.0) == expected.get_total_flops() > 0


def test_the_peak_is_of_the_fastest_product(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 9.0, 10.0, 12.0, 20.0, 21.0, 30.0, 34.0])
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(times))
    monkeypatch.setattr(module, "_SIDES", {"cpu": 4})
    assert peak_flops(CPU, torch.float32) == 2 * 4**3 / 1.0
