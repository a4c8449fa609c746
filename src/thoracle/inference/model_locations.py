"""Remember where models lie on this machine, by the hash of their weights, so that an index finds its model; a note that may be lost."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from thoracle.files.cache_folder import cache_dir
from thoracle.files.json_file import load_json, write_json

_NOTES: Final = "models.json"


def register(folder: Path, *, weights_sha256: str) -> None:
    """Note a model's folder, if notes can be kept."""
    try:
        write_json(cache_dir() / _NOTES, _known() | {weights_sha256: str(folder.resolve())}, indent=2)
    except OSError:
        return


def lookup(weights_sha256: str) -> Path | None:
    """Look up the folder where a model of these weights was last used, if it is still a model folder."""
    folder = _known().get(weights_sha256)
    return Path(folder) if folder is not None and (Path(folder) / "config.json").is_file() else None


def known_folders() -> list[Path]:
    """List the folders of all models that are remembered."""
    return [Path(folder) for folder in _known().values()]


def _known() -> dict[str, str]:
    try:
        notes = load_json(cache_dir() / _NOTES)
    except (OSError, ValueError):
        return {}
    return {str(key): str(value) for key, value in notes.items()} if isinstance(notes, dict) else {}
