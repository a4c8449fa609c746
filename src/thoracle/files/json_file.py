"""Read and write small JSON files: whole, within a budget of bytes, of the expected form."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from thoracle.files.atomic import write_atomic
from thoracle.files.refusal import Refusal

T = TypeVar("T")

_BUDGET: Final = 1 << 20
_LONGEST_REASON: Final = 120


def read_json_object(
    path: Path,
    *,
    parse: Callable[[dict[str, Any]], T],
    refusal: Refusal,
    detail: str,
    hint: str,
    tag: tuple[str, str] | None = None,
    budget: int = _BUDGET,
    source: Path | None = None,
) -> T:
    """Read a JSON object and make something of it.

    Args:
        path: of the file.
        parse: takes the object, its tag included, and raises `ValueError`, `TypeError`, `KeyError` or `AttributeError` where it is of
            another form; its other errors pass through.
        refusal: the error where the file cannot be used.
        detail, hint: of that error; the reason follows the detail in parentheses, without a path.
        tag: a key and the text that it must hold.
        budget: bytes that the file may have.
        source: what the error names; by default the file.

    Raises:
        Exception: what `refusal` makes: the file is absent, unreadable, too large, no JSON object, of another tag or form.
    """
    try:
        values = load_json(path, budget=budget)
        if not isinstance(values, dict):
            raise ValueError("no JSON object")
        if tag is not None and values.get(tag[0]) != tag[1]:
            raise ValueError(f"{tag[0]} {str(values.get(tag[0]))[:40]!r}, where {tag[1]!r} was expected")
        return parse(values)
    except OSError as error:
        raise refusal(f"{detail} ({error.strerror})", hint=hint, source=source or path) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        reason = f"{type(error).__name__}: {str(error)[:_LONGEST_REASON]}"
        raise refusal(f"{detail} ({reason})", hint=hint, source=source or path) from error


def load_json(path: Path, *, budget: int = _BUDGET) -> Any:
    """Read a JSON file of any form.

    Raises:
        OSError: it cannot be read.
        ValueError: it has more bytes than `budget`, or is no JSON.
    """
    if path.stat().st_size > budget:
        raise ValueError(f"more than {budget:,} bytes")
    return parse_json(path.read_bytes())


def parse_json(content: bytes) -> Any:
    """Parse JSON in UTF-8, UTF-16 or UTF-32.

    Raises:
        ValueError: it is no JSON, or nested too deep.
    """
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def write_json(path: Path, values: object, *, indent: int | None = None, private: bool = False) -> None:
    """Write JSON values and a line end, whole or not at all; `private` is as in `write_atomic`. Makes the folder.

    Raises:
        OSError: it cannot be written.
    """
    write_atomic(path, (json.dumps(values, indent=indent) + "\n").encode(), private=private)
