"""Files that are whole or absent; knows no content."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

#: The end of every name that stands for a file in work.
TEMPORARY: Final = ".tmp"


def write_atomic(path: Path, content: bytes | memoryview) -> None:
    """Write beside, flush to the disk, rename: whoever is killed leaves the old file or the new one. Makes the folder.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:80]}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
