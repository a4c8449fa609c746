"""Keep settings beside an output, and refuse to continue it with others."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from thoracle.files.json_file import write_json
from thoracle.files.refusal import Refusal


def check_or_write_settings(
    path: Path,
    *,
    settings: Mapping[str, Any],
    read: Callable[[Path], Mapping[str, Any]],
    refusal: Refusal,
    hint: str,
    source: Path,
) -> None:
    """Write the settings of a new output, or compare them with those it was begun with.

    Args:
        path: the JSON file of the settings; where it is absent, the output is new.
        settings: JSON values; tuples count as lists.
        read: reads `path`, and raises its own errors.
        refusal, hint, source: as in `check_settings`.

    Raises:
        Exception: what `refusal` makes: the settings differ.
        OSError: they cannot be written.
    """
    if path.exists():
        check_settings(read(path), settings=settings, refusal=refusal, hint=hint, source=source)
    else:
        write_json(path, settings, indent=2)


def check_settings(before: Mapping[str, Any], *, settings: Mapping[str, Any], refusal: Refusal, hint: str, source: str | Path) -> None:
    """Refuse settings that differ from those that an output was begun with.

    Args:
        before: of the output, as read from JSON.
        settings: of this run, JSON values; tuples count as lists. A key that is absent counts as null.
        refusal: the error where they differ.
        hint: of that error; its detail lists the keys that differ.
        source: what the error names, the output.

    Raises:
        Exception: what `refusal` makes: they differ.
    """
    requested = json.loads(json.dumps(dict(settings)))
    mismatched = sorted(key for key in {*before, *requested} if before.get(key) != requested.get(key))
    if mismatched:
        raise refusal(f"was made with another {', '.join(mismatched)}", hint=hint, source=source)
