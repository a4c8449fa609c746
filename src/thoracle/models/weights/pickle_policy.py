"""Decide what the pickle inside a checkpoint may ask for, before any of it is loaded.

A state dict of dense tensors asks for a dozen names. What training loops keep beside it (numpy's numbers and arrays, argparse's Namespace,
paths) comes out as `Placeholder`: none of its own code runs.
"""

from __future__ import annotations

import pickletools
import re
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, Final

from thoracle.errors import CheckpointDamaged, CheckpointUnsafe

#: All that a state dict of dense tensors asks for. torch allows more, some of which unfolds to any size (bytearray(10**11)).
NEEDED: Final = re.compile(
    r"collections (OrderedDict|defaultdict|Counter)|torch\._utils _rebuild_(tensor|tensor_v2|parameter)"
    r"|torch(\.cuda|\.storage)? \w+Storage|torch (Size|device|bool|bfloat16|u?int\d+|float\d+)"
)
#: Harmless values that stand beside weights. Each becomes a placeholder.
INERT: Final = (
    "numpy dtype",
    "numpy ndarray",
    *(f"numpy.{core}.multiarray {name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    "argparse Namespace",
    *(f"{module} {name}Path" for module in ("pathlib", "pathlib._local") for name in ("Posix", "PurePosix", "Windows", "PureWindows")),
)
#: How pickles of protocol 2 write bytes; torch calls it, and with other codecs than Latin-1 it unfolds to any size.
_BYTES: Final = "_codecs encode"
_AGAIN: Final = "Copy or download the file again, and compare its hash with the publisher's."
_TEXTS: Final = frozenset({"BINUNICODE", "SHORT_BINUNICODE", "UNICODE", "BINUNICODE8"})
_STORES: Final = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_FETCHES: Final = frozenset({"GET", "BINGET", "LONG_BINGET"})


class Placeholder:
    """Replace a value that no weights are read from; ignore what it is made of."""

    def __init__(self, *_: object) -> None: ...

    def __new__(cls, *_: object) -> Placeholder:
        """Ignore the arguments."""
        return super().__new__(cls)

    def __setstate__(self, _: object) -> None:
        """Ignore the state."""


def check_pickles(file: IO[bytes], source: Path, *, count: int, budget: int) -> None:
    """Read, without running them, what `count` pickles, one behind the other, ask for.

    Raises:
        CheckpointUnsafe: they ask for what neither weights nor harmless values beside them need.
        CheckpointDamaged: they cannot be read, or are longer than `budget` bytes.
    """
    try:
        for _ in range(count):
            _check_pickle(pickletools.genops(file), source, budget)
    except (ValueError, struct.error) as error:
        raise CheckpointDamaged(f"a pickle that cannot be read ({type(error).__name__})", hint=_AGAIN, source=source) from error


def unsafe(detail: str, source: Path) -> CheckpointUnsafe:
    """Return the refusal of a pickle."""
    hint = "Do not load it elsewhere. Ask its author for a state dict of tensors, best as .safetensors."
    return CheckpointUnsafe(f"the pickle {detail}; it was not run", hint=hint, source=source)


def _check_pickle(operations: Iterable[tuple[Any, Any, int | None]], source: Path, budget: int) -> None:
    """Follow what lies on top of the stack and in the memo, as far as the arguments of `_BYTES` go."""
    top, memo, expected = None, dict[object, str | None](), list[str]()
    for opcode, argument, position in operations:
        if (position or 0) > budget:
            raise CheckpointDamaged(f"a pickle of more than {budget:,} bytes", hint=_AGAIN, source=source)
        if opcode.name in _STORES:
            memo[argument] = top
            continue
        if opcode.name == "GLOBAL":
            _check_name(str(argument), source)
        top = _value(opcode.name, argument, memo)
        if expected:
            step = expected.pop(0)
            if not (top is not None and top.startswith("text ") if step == "text" else step in (top, opcode.name)):
                raise unsafe("encodes text in another way than bytes are written", source)
        elif top == _BYTES:
            expected = ["text", "text latin1", "TUPLE2", "REDUCE"]


def _value(opcode: str, argument: object, memo: dict[object, str | None]) -> str | None:
    if opcode == "GLOBAL":
        return str(argument)
    if opcode in _FETCHES:
        return memo.get(argument)
    return f"text {argument}" if opcode in _TEXTS else None


def _check_name(name: str, source: Path) -> None:
    if not NEEDED.fullmatch(name) and name not in INERT and name != _BYTES:
        raise unsafe(f"asks for {name[:80].replace(' ', '.')!r}, which no state dict of tensors needs", source)
