"""Load the next items in threads while the caller works on the one before."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from thoracle.execution.executor import Item, Output


def prefetch(load: Callable[[Item], Output], items: Iterable[Item], *, ahead: int = 1) -> Generator[tuple[Item, Output], None, None]:
    """Yield each item with what `load` returned for it, in order.

    At most `ahead` + 1 outputs exist at once: the caller's, and those that are loaded meanwhile, each in a thread of its own; with 0 the
    caller's thread loads each when it is due. When the generator ends, by an error or by `close`, loads that run are waited for and no
    other begins.

    Raises:
        Exception: from `load`, when its source is due.
    """
    remaining = iter(items)
    if not ahead:
        for source in remaining:
            yield source, load(source)
        return
    with ThreadPoolExecutor(max_workers=ahead, thread_name_prefix="prefetch") as loader:
        loads = deque((source, loader.submit(load, source)) for source in islice(remaining, ahead))
        while loads:
            source, future = loads.popleft()
            output = future.result()
            loads.extend((following, loader.submit(load, following)) for following in islice(remaining, 1))
            yield source, output
