"""Read the weights of a folder as transformers writes it: in one file, or in several that an index names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from thoracle.errors import CheckpointDamaged, CheckpointIncomplete
from thoracle.files.json_file import read_json_object
from thoracle.models.common.tensor_names import summarize_names
from thoracle.models.weights.checkpoint import read_checkpoint

_FILES: Final = ("model.safetensors", "pytorch_model.bin")
#: Names of a folder's weights, as they are looked for.
WEIGHTS: Final = tuple(f"{name}{ending}" for name in _FILES for ending in ("", ".index.json"))
_INDEX: Final = ".index.json"


def find_weights(folder: Path) -> Path | None:
    """Locate a folder's file of weights, or the index of several; None where it has neither."""
    return next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)


def weight_files(path: Path) -> tuple[Path, ...]:
    """List the files of a file, index or folder of weights: an index before what it names. A folder without weights is listed as it is.

    Raises:
        CheckpointDamaged, CheckpointIncomplete: as `read_weights`.
    """
    file = (find_weights(path) if path.is_dir() else None) or path
    return (file, *(file.parent / name for name in sorted({*_read_index(file).values()}))) if is_index(file) else (file,)


def is_index(file: Path) -> bool:
    """Tell an index from a file of weights, by its name."""
    return file.name.endswith(_INDEX)


def read_weights(file: Path) -> dict[str, Tensor]:
    """Read a file of weights, or all that an index names.

    Raises:
        InputError, CheckpointUnsafe, CheckpointUnknown: as `read_checkpoint`.
        CheckpointDamaged: as `read_checkpoint`, or the index is not one, or names a file outside its folder.
        CheckpointIncomplete: a file of the index is absent, or lacks a tensor that the index says is in it.
    """
    if not is_index(file):
        return read_checkpoint(file)
    places = _read_index(file)
    parts = {name: read_checkpoint(file.parent / name) for name in sorted({*places.values()})}
    lost = [tensor for tensor, name in places.items() if tensor not in parts[name]]
    if lost:
        raise CheckpointIncomplete(f"names tensors that its files lack: {summarize_names(lost)}", hint="Download it again.", source=file)
    return {tensor: parts[name][tensor] for tensor, name in places.items()}


def _read_index(file: Path) -> Mapping[str, str]:
    places = read_json_object(
        file, parse=_places, refusal=CheckpointDamaged, detail="is no index of weights", hint="Download it again.", source=file
    )
    absent = [name for name in sorted({*places.values()}) if not (file.parent / name).is_file()]
    if absent:
        hint = "Download the whole repository, or copy them beside the index."
        raise CheckpointIncomplete(f"names {len(absent)} files that are not there: {', '.join(absent[:4])}", hint=hint, source=file)
    return places


def _places(values: Mapping[str, Any]) -> Mapping[str, str]:
    places = {str(tensor): str(name) for tensor, name in values["weight_map"].items()}
    if not places or any(name != Path(name).name or name.endswith(_INDEX) for name in places.values()):
        raise ValueError("empty, or a file of another folder")
    return places
