"""Compare names that tables list with those of files and columns, whatever their spelling."""

from __future__ import annotations

import unicodedata
from pathlib import Path


def normalized_name(name: str) -> str:
    """Return a name without blanks around it, in composed Unicode, with slashes between folders."""
    return unicodedata.normalize("NFC", name).strip().replace("\\", "/")


def locate(folder: Path, listed: str) -> Path:
    """Return the file below a folder that a table lists: as listed, in the other Unicode form, or without `.nii.gz`.

    Where there is none such, the path is as listed.
    """
    name = normalized_name(listed)
    forms = dict.fromkeys((listed.strip(), name, unicodedata.normalize("NFD", name)))
    paths = [folder / f"{form}{suffix}" for suffix in ("", ".nii.gz", ".nii") for form in forms]
    return next((path for path in paths if path.exists()), paths[0])


def column_key(name: str) -> str:
    """Return what names of columns have in common that differ by case, blanks or underscores."""
    return "".join(normalized_name(name).replace("_", " ").split()).casefold()
