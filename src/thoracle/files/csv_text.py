"""Write tables as CSV whose cells no spreadsheet runs as formulas; `thoracle.text_safety.spreadsheet_plain` takes a cell's text back."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from thoracle.text_safety import spreadsheet_safe


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Return rows as CSV; an apostrophe stands before text that would begin a formula."""
    text = io.StringIO(newline="")
    cells = ([spreadsheet_safe(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    csv.writer(text, lineterminator="\n").writerows(cells)
    return text.getvalue()
