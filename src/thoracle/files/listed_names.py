"""Compare names that tables list with those of files and columns, whatever their spelling."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import Final

#: Marks without width that spreadsheets and web pages leave around a name: order of bytes, direction of script, where a line may break.
_BLANK: Final = "[\\s\ufeff\u200b\u200e\u200f\u2060]"
#: Before the name also the apostrophe of a cell that a spreadsheet would run as a formula (`thoracle.text_safety.spreadsheet_safe`).
_AROUND: Final = re.compile(f"^(?:{_BLANK}|'(?=[=+@\t\r-]))+|{_BLANK}+$")


def normalized_name(name: str) -> str:
    """Return a name in composed Unicode, slashes between folders, without blanks, widthless marks or a formula's apostrophe around it."""
    return _AROUND.sub("", unicodedata.normalize("NFC", name)).replace("\\", "/")


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
