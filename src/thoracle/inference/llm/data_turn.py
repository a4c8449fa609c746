"""Escape text of others for a turn of data: each text becomes one line, and none of it a mark of a chat template."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Final

from thoracle.models.chat.prompt import IMAGE
from thoracle.text_safety import terminal_safe

#: Marks of chat templates are made of these: escaped, no text of a report becomes one.
_MARKS: Final = frozenset("<>[]|{}&`")
#: Other than letters, what reports are written with; marks of some templates are made of the rest.
_SIGNS: Final = frozenset("°±×²³µ–—‘’“”…•≤≥≈½¼¾")
_CITATION: Final = re.compile(r"\[[FC]\d+(?:, ?[FC]\d+)*\]")


def escape_text(text: str) -> str:
    """Return text as one line in which nothing is a mark of a chat template; JSON reads it back."""
    return "".join(_escape(character) for character in json.dumps(text, ensure_ascii=False)[1:-1])


def escape_answer(text: str, ids: Collection[str] = ()) -> str:
    """Return an earlier answer of the model, escaped as reports are; its lines stay, and citations of `ids`."""
    lines = terminal_safe(text).split("\n")
    return "\n".join(_escape_line(line, ids) for line in lines)


def without_images(text: str) -> str:
    """Remove what stands for a scan in a turn; what is taken out may leave another."""
    while IMAGE in text:
        text = text.replace(IMAGE, "")
    return text


def _escape(character: str) -> str:
    if character in _MARKS or not (character.isascii() or character.isalpha() or character in _SIGNS) or character == "\x7f":
        return json.dumps(character)[1:-1] if not character.isascii() else f"\\u{ord(character):04x}"
    return character


def _escape_line(line: str, ids: Collection[str]) -> str:
    escaped, start = "", 0
    for match in _CITATION.finditer(line):
        if set(re.findall(r"\w+", match[0])) <= set(ids):
            escaped, start = escaped + escape_text(line[start : match.start()]) + match[0], match.end()
    return escaped + escape_text(line[start:])
