"""Names of tensors as people are shown them: few, short, harmless to a terminal, with the nearest known one beside."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from difflib import get_close_matches
from typing import Final

_MOST_NAMES: Final = 6
_MOST_LETTERS: Final = 160
#: Comparing is slow, and a hostile file can hold a million names.
_MOST_COMPARED: Final = 1000


#: What torch.compile, activation checkpointing and FSDP put into names, wherever the wrapped module stands.
WRAPPERS: Final = ("_orig_mod.", "_checkpoint_wrapped_module.", "_fsdp_wrapped_module.")


def without_wrappers(name: str) -> str:
    """Take `WRAPPERS` out of a name."""
    for wrapper in WRAPPERS:
        name = name.replace(wrapper, "")
    return name


def shared_prefix(names: Collection[str], *, known: Callable[[str], bool]) -> str | None:
    """Return the shortest prefix that all names share, in whole parts ("module.model."), behind which one of them is known.

    Returns:
        "" where one is known as it is; None where none is known behind any shared prefix.
    """
    prefix = ""
    while not any(known(name[len(prefix) :]) for name in names):
        part, dot, _ = next(iter(names), "")[len(prefix) :].partition(".")
        prefix += part + dot
        if not dot or not all(name.startswith(prefix) for name in names):
            return None
    return prefix


def summarize_names(names: Sequence[str], *, near: Collection[str] = ()) -> str:
    """List the first few of `names`, each with the most similar of `near` if one is similar, and the count of the others."""
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(_with_nearest(name, near) for name in names[:_MOST_NAMES]) + more


def _with_nearest(name: str, others: Collection[str]) -> str:
    compared = [rival for rival, _ in zip(others, range(_MOST_COMPARED), strict=False) if len(rival) <= _MOST_LETTERS]
    close = get_close_matches(name[:_MOST_LETTERS], compared, n=1, cutoff=0.8)
    return f"{_shown(name)} (nearest: {_shown(close[0])})" if close else _shown(name)


def _shown(name: str) -> str:
    return repr(name[:_MOST_LETTERS])[1:-1]
