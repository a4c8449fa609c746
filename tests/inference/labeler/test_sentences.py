from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thoracle.inference.labeler.sentences import sentences, unreadable


def split(report: str) -> list[str]:
    return [one.text for one in sentences(report)]


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        ("Heart is normal. Lungs are clear.", ["Heart is normal", "Lungs are clear"]),
        ("A 3.5 mm nodule at 12.03.2019. No effusion", ["A 3.5 mm nodule at 12.03.2019", "No effusion"]),
        ('Bones are sound. "" Nodule in the lingula "" Hernia.""', ["Bones are sound", "Nodule in the lingula", "Hernia"]),
        ("• Cardiomegaly • Hernia", ["Cardiomegaly", "Hernia"]),
        ("Seen by Dr. Brown. Lungs are clear", ["Seen by Dr. Brown", "Lungs are clear"]),
        ("The lungs are clear.Heart is large", ["The lungs are clear", "Heart is large"]),
        ("Pneumonia? Effusion on the left", ["Pneumonia?", "Effusion on the left"]),
        ("Cyst (hemangioma?) in the liver; hernia", ["Cyst (hemangioma?) in the liver", "hernia"]),
        ("", []),
        (" . .. ", []),
    ],
)
def test_sentences_of_dirty_reports(report: str, expected: list[str]) -> None:
    assert split(report) == expected


@given(st.text(alphabet='ab .?;,"•1N\n', max_size=60))
def test_sentences_stand_where_they_say_and_lose_no_letter(report: str) -> None:
    found = list(sentences(report))
    assert all(report[one.start : one.start + len(one.text)] == one.text for one in found)
    assert "".join(c for one in found for c in one.text if c.isalnum()) == "".join(c for c in report if c.isalnum())


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        ("Cardiomegaly is present in the chest", ""),
        ("Hiatal hernia", ""),
        ("", "no text"),
        ("Not given.", "no text"),
        ("12.5 / 3", "no text"),
        ("Her iki akciğerde nodül izlenmemiştir. Kalp boyutları normaldir.", "not English"),
        ("Kein Nachweis eines Pleuraergusses, das Herz ist normal groß", "not English"),
        ("No hay derrame pleural. El corazón es de tamaño normal.", "not English"),
        ("肺野清晰，未见结节。", "not English"),
        ("The lungs are clear \udce4", "not in the table's encoding"),
    ],
)
def test_what_cannot_be_labelled_says_why(report: str, reason: str) -> None:
    assert unreadable(report) == reason


@pytest.mark.parametrize("text", ["No acute finding.", "Thoracic CT within normal limits.", "A little perirenal effusion."])
def test_a_short_impression_is_english(text: str) -> None:
    assert unreadable(text) == ""
