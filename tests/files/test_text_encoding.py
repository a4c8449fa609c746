from __future__ import annotations

import pytest

from thoracle.files.text_encoding import likely_encoding


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Nodül sağ üst lobda, büyümüş", "cp1254"),
        ("Größe 5 mm²", "cp1252"),
        ("nódulo pulmonar, opacificación", "cp1252"),
        ("zvětšené uzliny", "cp1250"),
        ("Очаг 5 мм", "cp1251"),
        ("größer, für später", "mac_roman"),
    ],
)
def test_letters_of_one_language_tell_the_encoding(text: str, encoding: str) -> None:
    assert likely_encoding(text.encode(encoding)) == encoding


def test_bytes_of_no_language_tell_none() -> None:
    assert likely_encoding(bytes(range(0x80, 0x100))) == ""


def test_a_power_inside_a_word_is_a_letter_of_another_encoding() -> None:
    """0xB3 is the Polish l with a stroke in cp1250, and a superscript three in cp1252."""
    assert likely_encoding("płuco".encode("cp1250")) == "cp1250"
    assert likely_encoding("12 cm³".encode("cp1252")) == "cp1252"
