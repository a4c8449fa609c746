"""Clean text of reports, models and servers before a terminal, a page or a spreadsheet shows it.

It may hold what moves the cursor, turns writing around, or is a formula.
"""

from __future__ import annotations

from typing import Final

#: C0, DEL and C1: they begin a terminal's escape sequences, or overwrite what stands there.
_CONTROLS: Final = (*range(0x20), *range(0x7F, 0xA0))
#: Marks, embeddings, overrides and isolates of direction: what stands there reads otherwise than it is.
_DIRECTIONS: Final = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
#: Vertical tab, form feed, next line, line and paragraph separator.
_LINE_ENDS: Final = (0x0B, 0x0C, 0x85, 0x2028, 0x2029)
_SURROGATES: Final = range(0xD800, 0xE000)
#: A spreadsheet takes a cell that begins with one of these for a formula, whatever stands in quotes around it.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_TABLE: Final = {
    **dict.fromkeys((*_CONTROLS, *_DIRECTIONS)),
    **dict.fromkeys(_LINE_ENDS, "\n"),
    **dict.fromkeys(_SURROGATES, "\ufffd"),
    0x09: "\t",
    0x0A: "\n",
}


def terminal_safe(text: str) -> str:
    """Return text without controls and marks of direction; of a sequence that begins with ESC the letters stay, as letters.

    Line ends of other systems become newlines, tabs and newlines stay, half a surrogate becomes U+FFFD. Each character is taken alone, so
    that the pieces of a stream can be cleaned one by one.
    """
    return text.translate(_TABLE)


def spreadsheet_safe(text: str) -> str:
    """Return a cell of free text that a spreadsheet shows and does not run: an apostrophe stands before what would begin a formula.

    Numbers stay as they are.
    """
    if not text.startswith(_FORMULA):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def spreadsheet_plain(cell: str) -> str:
    """Return the text of a cell that `spreadsheet_safe` wrote."""
    return cell[1:] if cell.startswith("'") and spreadsheet_safe(cell[1:]) == cell else cell
