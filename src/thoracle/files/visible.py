"""Wait for files that another host writes to a shared disk."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_POLL_SECONDS: Final = 0.1


def wait_until_visible(paths: Iterable[Path], *, seconds: float = 120.0) -> None:
    """Wait for files that have been written: a network file system may show them to another host late, by up to a minute.

    Raises:
        TimeoutError: one is still absent after so many seconds.
    """
    until = time.monotonic() + seconds
    for path in paths:
        while not path.exists():
            if time.monotonic() > until:
                raise TimeoutError(
                    errno.ETIMEDOUT, "another rank wrote it, and this one does not see it: is it on a shared disk?", str(path)
                )
            time.sleep(_POLL_SECONDS)
