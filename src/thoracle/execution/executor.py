"""Define what an executor promises: one function over many items, and an outcome or an error for each."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, cast

Item = TypeVar("Item")
Output = TypeVar("Output")


@dataclass(frozen=True, kw_only=True)
class ItemOutcome(Generic[Item, Output]):
    """Hold what became of one item.

    Attributes:
        index: position among the items, from 0.
        item: the item itself.
        output: what the function returned; None if it raised.
        error: what the function raised, or `WorkerKilled` if the item cost two workers their lives; else None.
    """

    index: int
    item: Item
    output: Output | None = None
    error: Exception | None = None

    def output_or_raise(self) -> Output:
        """Return the output.

        Raises:
            Exception: the item's error, if there is one.
        """
        if self.error is not None:
            raise self.error
        return cast(Output, self.output)


class Executor(Protocol):
    """Run one function over many items. To run a part of them (a shard), pass a part of them."""

    def map(
        self, make_worker: Callable[[], Callable[[Item], Output]], items: Iterable[Item]
    ) -> Generator[ItemOutcome[Item, Output], None, None]:
        """Yield the outcome of each item, in the order in which they end.

        A worker that dies costs its item one try of two and no other item anything. Use `contextlib.closing` around the generator, so
        that workers end before an error of the caller goes on.

        Args:
            make_worker: makes the state of a worker (for example a loaded model) once per process, and returns the function of an item.
                It, the items and the outputs cross processes, so they must pickle.
            items: read as workers become free, never far ahead.

        Raises:
            Exception: from `make_worker`; no worker could start.
            WorkerKilled: a worker died before it could take an item.
        """
        ...


def attempt(function: Callable[[], Output]) -> tuple[Output | None, Exception | None]:
    """Return the output of a function, or the error that it raised.

    The only place that catches every exception: an executor carries errors to its caller, who knows which are expected.
    """
    try:
        return function(), None
    except Exception as error:  # noqa: BLE001  # handed on as a value
        return None, error
