"""Let one process at a time write to a folder or a file, on every platform."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from thoracle.files.refusal import Refusal

_NAME: Final = ".lock"
_UNSUPPORTED: Final = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)


@contextmanager
def exclusive_lock(folder: Path, *, refusal: Refusal, detail: str, name: str = _NAME, wait: bool = False) -> Iterator[None]:
    """Hold a folder's lock while the block runs. The system frees the lock of a process that is killed.

    Args:
        folder: made if absent; the lock is a file in it, which stays there.
        refusal: the error where the lock cannot be had.
        detail: says that another process holds it.
        name: of the lock's file, where the lock is one file's and not the folder's.
        wait: for the process that holds it, in place of a refusal.

    Raises:
        Exception: what `refusal` makes: another process holds the lock, or the file system has no locks.
        OSError: the folder cannot be written.
    """
    # A soft lock, the library's fallback, would outlive a holder that is killed.
    lock = FileLock(folder / name, blocking=wait, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise refusal(detail, hint="Wait for it.", source=folder) from error
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        unsupported = f"its file system does not lock files ({error.strerror})"
        raise refusal(unsupported, hint="Choose a folder on a local disk, or mount this one with locks.", source=folder) from error
    try:
        yield
    finally:
        lock.release()
