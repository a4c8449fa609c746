"""Opening a checkpoint nobody vouches for: names and tensors come out, no code runs.

Three containers exist in the wild, told apart by their bytes, never by their suffix: safetensors, torch's zip, torch's older
bare pickle. See docs/decisions/0004-checkpoint-safety.md.
"""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from thoracle.errors import CheckpointDamaged, CheckpointUnknown, CheckpointUnsafe, InputError
from thoracle.models.weights.pickle_policy import INERT, Placeholder, check_pickles, unsafe

#: What training loops call the model inside a larger checkpoint, beside the optimiser and the step.
WRAPPERS: Final = ("state_dict", "model_state_dict", "model")
#: Names and shapes of the full-size model take 60 kB in either container. A byte of a pickle can become a hundred of memory.
INDEX_BUDGET: Final = 4 * 2**20
_AGAIN: Final = "Copy or download the file again, and compare its hash with the publisher's."
#: What torch.load raises on bytes that are not what they say; a pickle that asks for more than tensors raises UnpicklingError.
_FAULTS: Final = (
    RuntimeError, EOFError, LookupError, ValueError, TypeError, AttributeError, AssertionError, ArithmeticError, MemoryError, struct.error,
    SafetensorError,
)  # fmt: skip


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read the state dict in a file on the CPU, memory-mapped where its container allows it.

    Raises:
        InputError: no such file.
        CheckpointUnsafe: the pickle would run code; nothing of it has run.
        CheckpointDamaged: the bytes contradict themselves, or would unfold into more than the file holds.
        CheckpointUnknown: no checkpoint, or something other than names and tensors.
    """
    if not path.is_file():
        raise InputError("is not a file", hint="Give the path of one checkpoint file.", source=path)
    with path.open("rb") as file:
        head = file.read(9)
    if head.startswith(b"PK\x03\x04"):
        _check_zip(path)
        loaded = _load(path, mmap=True)
    elif len(head) == 9 and head[8:] == b"{" and int.from_bytes(head[:8], "little") <= INDEX_BUDGET:
        loaded = _load_safetensors(path)
    elif head.startswith(b"\x80"):
        with path.open("rb") as file:
            check_pickles(file, path, count=5, budget=INDEX_BUDGET)  # magic number, version, system, content, keys of storages
        loaded = _load(path, mmap=False)
    else:
        raise CheckpointUnknown(
            "is neither safetensors, nor a zip, nor a pickle",
            hint="Give a checkpoint; a file of a few hundred bytes is a Git LFS pointer or a web page, not the download itself.",
            source=path,
        )
    return _state_dict(loaded, path)


def _check_zip(path: Path) -> None:
    """torch stores members uncompressed; mapping them skips the checksums, so those are read here."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            # torch looks names up without regard to case.
            pickles = [m for m in members if m.filename.lower().endswith("/data.pkl")]
            if any(m.filename.lower().endswith("/constants.pkl") for m in members):
                raise CheckpointUnsafe("a TorchScript archive, which is code", hint="Ask for the state dict instead.", source=path)
            if len(pickles) != 1 or pickles[0].file_size > INDEX_BUDGET:
                raise CheckpointDamaged(
                    "a zip without one data.pkl of reasonable size, so not written by torch.save", hint=_AGAIN, source=path
                )
            if any(m.compress_type != zipfile.ZIP_STORED or m.flag_bits & 1 for m in members):
                raise CheckpointDamaged("compressed or encrypted zip members, which torch.save never writes", hint=_AGAIN, source=path)
            if sum(m.file_size for m in members) > path.stat().st_size:
                raise CheckpointDamaged("zip members that overlap: they promise more bytes than the file has", hint=_AGAIN, source=path)
            broken = archive.testzip()
            if broken is None:
                with archive.open(pickles[0]) as file:
                    check_pickles(file, path, count=1, budget=INDEX_BUDGET)
    except (zipfile.BadZipFile, EOFError, struct.error, ValueError, NotImplementedError) as error:
        raise CheckpointDamaged(f"a zip that cannot be read ({_line(error)})", hint=_AGAIN, source=path) from error
    if broken is not None:
        raise CheckpointDamaged(f"the checksum of {broken[:80]!r} is wrong", hint=_AGAIN, source=path)


def _load(path: Path, *, mmap: bool) -> object:
    try:
        with torch.serialization.safe_globals([(Placeholder, name.replace(" ", ".")) for name in INERT]):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        raise unsafe("holds something other than tensors, or is damaged", path) from error
    except _FAULTS as error:
        raise CheckpointDamaged(f"not a whole checkpoint ({_line(error)})", hint=_AGAIN, source=path) from error


def _load_safetensors(path: Path) -> object:
    try:
        return safetensors.torch.load_file(path)
    except _FAULTS as error:
        raise CheckpointDamaged(f"not a whole safetensors file ({_line(error)})", hint=_AGAIN, source=path) from error


def _state_dict(loaded: object, path: Path) -> dict[str, Tensor]:
    for _ in WRAPPERS:
        inner = next((loaded[w] for w in WRAPPERS if isinstance(loaded.get(w), Mapping)), None) if isinstance(loaded, Mapping) else None
        loaded = loaded if inner is None else inner
    if not isinstance(loaded, Mapping) or not loaded:
        raise CheckpointUnknown(f"holds a {type(loaded).__name__}, not names and tensors", hint="Give a state dict.", source=path)
    tensors = {_name(key, path): _tensor(key, value, path) for key, value in loaded.items()}
    # Strides of 0 and shared storages let a small file claim any size; a checkpoint may at most tie each weight to one other.
    claimed = sum(t.nbytes for t in tensors.values())
    if claimed > 2 * path.stat().st_size or any(t.nbytes > t.untyped_storage().nbytes() for t in tensors.values()):
        raise CheckpointDamaged(
            f"tensors of {claimed:,} bytes from a file of {path.stat().st_size:,}: they are not all in it", hint=_AGAIN, source=path
        )
    return tensors


def _name(key: object, path: Path) -> str:
    if not isinstance(key, str):
        raise CheckpointUnknown(f"names a tensor with a {type(key).__name__}", hint="Give a state dict.", source=path)
    return key


def _tensor(key: object, value: object, path: Path) -> Tensor:
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
        raise CheckpointUnknown(
            f"{str(key)[:80]!r} is a {type(value).__name__}, not a plain tensor", hint="Give a state dict of dense tensors.", source=path
        )
    return value.detach()


def _line(error: BaseException) -> str:
    """The first line of a message, in characters that a hostile file cannot steer a terminal with."""
    first = str(error).strip().split("\n", 1)[0][:120]
    return f"{type(error).__name__}: {repr(first)[1:-1]}"
