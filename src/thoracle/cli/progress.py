"""Show on the terminal how far a command is: one bar for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, Self, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

Item = TypeVar("Item")
#: Items a second, a minute, or no rate.
Rate = Literal["s", "min", ""]


class ProgressBar:
    """Draw a description, a bar, a count, a rate and the time left; a context manager."""

    def __init__(
        self,
        description: str,
        *,
        console: Console,
        total: float | None = None,
        completed: float = 0,
        rate: Rate = "s",
        transient: bool = False,
    ) -> None:
        """Prepare a bar, which is drawn within the `with`.

        Args:
            description: of what is counted.
            console: to draw on.
            total: items; None until `update` tells.
            completed: items before this run, which do not count into the rate.
            rate: the unit of time.
            transient: whether the bar goes when it ends.
        """
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[count]}"), TextColumn("{task.fields[rate]}"))
        self._progress = Progress(*columns, TimeRemainingColumn(), console=console, transient=transient)
        self._rate: Rate = rate
        self._done = self._before = completed
        self._task = self._progress.add_task(description, total=total, count=_count(completed, total), rate="")
        self._progress.update(self._task, completed=completed)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def advance(self, items: float = 1) -> None:
        """Count more items."""
        self.update(self._done + items)

    def update(
        self,
        completed: float,
        *,
        total: float | None = None,
        description: str | None = None,
        count: str | None = None,
        processed: float | None = None,
    ) -> None:
        """Draw a new state.

        Args:
            completed: items in all.
            total: items, where they were not known or have changed.
            description: in place of the one before.
            count: in place of "done/total".
            processed: items of this run, which the rate counts; those since the bar began by default.
        """
        self._done = completed
        task = self._progress.tasks[0]
        processed = completed - self._before if processed is None else processed
        self._progress.update(
            self._task,
            completed=completed,
            total=total,
            description=description,
            count=_count(completed, task.total if total is None else total) if count is None else count,
            rate=self._rate_text(processed, task.elapsed),
        )

    def _rate_text(self, processed: float, elapsed: float | None) -> str:
        if not self._rate or not elapsed:
            return ""
        return f"{processed / elapsed:,.1f}/s" if self._rate == "s" else f"{60 * processed / elapsed:,.0f}/min"


def track(
    items: Iterable[Item], *, description: str, total: float, console: Console, rate: Rate = "s", transient: bool = False
) -> Iterator[Item]:
    """Yield the items, and count each when the next is asked for."""
    with ProgressBar(description, console=console, total=total, rate=rate, transient=transient) as bar:
        for item in items:
            yield item
            bar.advance()


def follow(volumes: Iterable[str], *, total: int, console: Console) -> None:
    """Run through the volumes of an evaluation under a bar that goes at its end."""
    for _ in track(volumes, description="volumes", total=total, console=console, transient=True):
        pass


def _count(completed: float, total: float | None) -> str:
    return f"{completed:,.0f}/{'?' if total is None else f'{total:,.0f}'}"
