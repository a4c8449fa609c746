from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thoracle.text_safety import spreadsheet_safe, terminal_safe

_BIDIRECTIONAL = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Effusion \x1b]0;PWNED\x07\x1b[2J\x1b]8;;http://evil\x1b\\here", "Effusion ]0;PWNED[2J]8;;http://evil\\here"),
        ("Effusion \x9b31m\x9d0;PWNED\x9c", "Effusion 31m0;PWNED"),
        ("No mass.\rMass.", "No mass.Mass."),
        ("one\r\ntwo\tthree\n", "one\ntwo\tthree\n"),
        ("one\u2028two\u2029three\x85four\x0bfive", "one\ntwo\nthree\nfour\nfive"),
        ("no \u202eevitisop\u202c \u2066x\u2069 \u200fy\u200e \u061cz", "no evitisop x y z"),
        ("a\x00b\x08c\x7fd", "abcd"),
        ("half \ud83d", "half \ufffd"),
        ("Ödem, 5\u00a0mm, ⩽ 3, 肺, نزف, \U0001f642, [red]", "Ödem, 5\u00a0mm, ⩽ 3, 肺, نزف, \U0001f642, [red]"),
    ],
)
def test_what_a_terminal_would_obey_is_gone_and_words_stay(text: str, shown: str) -> None:
    assert terminal_safe(text) == shown


@given(st.text(st.characters(), max_size=50))
def test_no_control_is_left_and_pieces_are_cleaned_as_the_whole(text: str) -> None:
    cleaned = terminal_safe(text)
    assert not [c for c in cleaned if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") and c not in "\n\t"]
    assert not [c for c in cleaned if unicodedata.bidirectional(c) in _BIDIRECTIONAL]
    assert "".join(map(terminal_safe, text)) == cleaned == terminal_safe(cleaned)


@pytest.mark.parametrize(
    ("cell", "safe"),
    [
        ('=HYPERLINK("http://evil")', '\'=HYPERLINK("http://evil")'), ("+1+cmd", "'+1+cmd"), ("-2+3", "'-2+3"), ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"), ("\r=1", "'\r=1"), ("-", "'-"), ("-5", "-5"), ("+1e-3", "+1e-3"), ("-0.25", "-0.25"), ("a=1", "a=1"),
        ("", ""), ("ACC-1", "ACC-1"), (" =1", " =1"),
    ],
)  # fmt: skip
def test_a_cell_is_no_formula(cell: str, safe: str) -> None:
    assert spreadsheet_safe(cell) == safe
