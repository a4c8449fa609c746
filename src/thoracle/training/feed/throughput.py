"""Measure how well a run is fed and how much of its device it uses: seconds waited for data, arithmetic done of what is possible."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

T = TypeVar("T")
#: Side of the square matrices whose product is the measure of what a device can do.
_SIDES: Final = {"cuda": 8192, "cpu": 512}
_REPEATS: Final = 3


class WaitClock:
    """Add up the seconds in which items of iterators were waited for."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def timed(self, items: Iterable[T]) -> Generator[T, None, None]:
        """Yield the items."""
        remaining = iter(items)
        while True:
            start = time.perf_counter()
            try:
                item = next(remaining)
            except StopIteration:
                return
            finally:
                self._seconds += time.perf_counter() - start
            yield item
            del item  # a chunk of volumes is not kept while the next is waited for

    def lap(self) -> float:
        """Return the seconds since the last lap."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds


class ArithmeticMeter:
    """Compare a step's arithmetic with what the device can do.

    Operations are counted in the first step: those of matrix products, convolutions and attention, what is computed twice included. What
    is possible is measured before it, by products of large square matrices in the run's precision.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self._peak = peak_flops(device, dtype)
        self._flops = 0

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count the operations of the first step; of any other nothing."""
        if self._flops:
            yield
            return
        with FlopCounter() as counter:
            yield
        self._flops = counter.flops

    def utilization(self, seconds: float) -> float:
        """Return the fraction of the possible operations that a step of so many seconds did."""
        return self._flops / seconds / self._peak


class FlopCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Count as torch's FlopCounterMode does, without its module hooks, which keep what activation checkpointing lets go."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if (count := flop_registry.get(func._overloadpacket)) is not None:
            self.flops += count(*args, **(kwargs or {}), out_val=result)
        return result


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Measure operations a second of a matrix product, the best of a few."""
    side = _SIDES.get(device.type, _SIDES["cpu"])
    square = torch.zeros(side, side, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(1 + _REPEATS):
        start = time.perf_counter()
        square @ square
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
    return float(2 * side**3 / best)
