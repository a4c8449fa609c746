"""Read the rows of an Excel workbook, as text."""

from __future__ import annotations

import datetime
import zipfile
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from thoracle.errors import MetadataError

#: Excel's strings are in memory at once; a workbook of a million reports has less.
_LARGEST_SHEET: Final = 4 << 30


def excel_lines(path: Path) -> Generator[tuple[int, list[str] | str, float], None, None]:
    """Yield line, cells and position of the first sheet that has any.

    Raises:
        MetadataError: not a workbook, or one that unpacks to too much.
    """
    import openpyxl
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > _LARGEST_SHEET:
                raise MetadataError(f"unpacks to more than {_LARGEST_SHEET:,} bytes", hint="Save it as CSV.", source=path)
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except (zipfile.BadZipFile, InvalidFileException, KeyError, ValueError, SyntaxError) as error:
        raise MetadataError("is not an Excel workbook", hint="Save it again, as .xlsx or CSV.", source=path) from error
    with closing(book):
        for sheet in book.worksheets:
            last, is_filled = max(sheet.max_row or 1, 2), False
            for line, cells in enumerate(sheet.iter_rows(), start=1):
                texts = [written_text(cell) for cell in cells]
                if any(text.strip() for text in texts):
                    is_filled = True
                    yield line, texts, min(1.0, line / last)
            if is_filled:
                return


def plain_text(value: Any) -> str:
    """Write a value as people do: Excel keeps 17 as 17.0, and a date with a time of day."""
    if value is None:
        return ""
    if isinstance(value, datetime.datetime):
        return value.date().isoformat() if value.time() == datetime.time() else value.isoformat(" ")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def written_text(cell: Any) -> str:
    """Write what a cell of Excel shows: a number of a format of zeros has zeros before it, as accession numbers do."""
    text = plain_text(cell.value)
    is_padded = text.isdigit() and not isinstance(cell.value, str) and len(form := cell.number_format) > 1 and set(form) == {"0"}
    return text.zfill(len(cell.number_format)) if is_padded else text
