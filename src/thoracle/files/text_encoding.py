"""Guess the encoding of a table from its letters."""

from __future__ import annotations

import re
from typing import Final

#: Powers stand behind units, and these signs never between letters; elsewhere they are letters of another encoding.
_SIGN_IN_WORD: Final = re.compile(r"[^\W\dm_][²³]|[²³][^\W\d_]|[^\W\d_][÷×§©®«»±°][^\W\d_]")
_SIGNS: Final = "°±²³µ×÷·–—‘’“”„…«»€§®©´\xa0•™"
_WESTERN: Final = "äöüÄÖÜßàâçéèêëîïôùûœæÀÇÉÈÊËÎÏÔÙÛŒÆáíóúñÁÍÓÚÑãõÕåøÅØìòÌÒ"
#: Encodings that tables come in, and the letters that show that a table is in one.
_LETTERS: Final = (
    ("cp1252", _WESTERN),
    ("cp1254", "çğıöşüÇĞİÖŞÜâîûéÂÎÛÉ"),
    ("cp1250", "ąćęłńóśźżĄĆĘŁŃÓŚŹŻáčďéěíňřšťúůýžÁČĎÉĚÍŇŘŠŤÚŮÝŽőűŐŰäöüÄÖÜß"),
    ("cp1251", "".join(map(chr, range(0x410, 0x450))) + "ёЁ№"),
    ("mac_roman", _WESTERN),
)


def likely_encoding(sample: bytes) -> str:
    """Guess the first encoding in which a sample has no other letters than its language's; "" where there is none."""
    for name, alphabet in _LETTERS:
        try:
            text = sample.decode(name)
            if {letter for letter in text if not letter.isascii()} <= {*alphabet, *_SIGNS} and not _SIGN_IN_WORD.search(text):
                return name
        except UnicodeDecodeError:
            continue
    return ""
