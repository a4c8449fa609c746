"""Remember where models lie on this machine, by the hash of their weights, so that an index finds its model, and by the name of what was
imported; a note that may be lost."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from thoracle.files.cache_folder import cache_dir
from thoracle.files.json_file import load_json, write_json

_NOTES: Final = "models.json"


def register(folder: Path, *keys: str) -> None:
    """Note a model's folder under the hash of its weights, or the catalogue's name of its file, if notes can be kept."""
    try:
        write_json(cache_dir() / _NOTES, _known() | dict.fromkeys(keys, str(folder.resolve())), indent=2)
    except OSError:
        return


def lookup(key: str) -> Path | None:
    """Look up the folder where a model of these weights, or of this name, was last used, if it is still a model folder."""
    folder = _known().get(key)
    return Path(folder) if folder is not None and _is_folder(Path(folder)) else None


def locate(model: str | Path) -> Path:
    """Return the folder of a model that is given by its path, or by the name of the published file it was imported from."""
    path = Path(model)
    return path if _is_folder(path) else lookup(str(model)) or path


def known_folders() -> list[Path]:
    """List the folders of all models that are remembered."""
    return [Path(folder) for folder in dict.fromkeys(_known().values())]


def _is_folder(path: Path) -> bool:
    return (path / "config.json").is_file()


def _known() -> dict[str, str]:
    try:
        notes = load_json(cache_dir() / _NOTES)
    except (OSError, ValueError):
        return {}
    return {str(key): str(value) for key, value in notes.items()} if isinstance(notes, dict) else {}
