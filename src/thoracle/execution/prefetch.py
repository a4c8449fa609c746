"""Load the next item in a thread while the caller works on the one before."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from thoracle.execution.executor import Item, Output


def prefetch(load: Callable[[Item], Output], items: Iterable[Item]) -> Generator[tuple[Item, Output], None, None]:
    """Yield each item with what `load` returned for it, in order.

    At most two outputs exist at once: the caller's, and one that is loaded meanwhile. When the generator ends, by an error or by `close`,
    a load that runs is waited for and no other begins.

    Raises:
        Exception: from `load`, when its source is due.
    """
    remaining = iter(items)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch") as loader:
        ahead = [(source, loader.submit(load, source)) for source in islice(remaining, 1)]
        while ahead:
            source, future = ahead.pop()
            output = future.result()
            ahead = [(following, loader.submit(load, following)) for following in islice(remaining, 1)]
            yield source, output
