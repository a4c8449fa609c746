from __future__ import annotations

import pytest

from thoracle.cohort.reports import Report, clean_text


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ('Nodule (3 mm) in the patient\'s "left" lung.', "Nodule 3 mm in the patients left lung."),
        ("Not given.", ""),
        (" Not given. ", ""),
        ("No history. Not given.", "No history. Not given."),
        ("", ""),
        (" ( ) ", ""),
        ("Line one.\nLine two.", "Line one.\nLine two."),
    ],
)
def test_text_is_cleaned_as_published(text: str, clean: str) -> None:
    assert clean_text(text) == clean


def test_a_section_is_chosen() -> None:
    report = Report(findings="A (b).", impression="C.")
    assert [report.text(section) for section in ("findings", "impression", "both")] == ["A b.", "C.", "A b. C."]
    assert Report(findings="A.", impression="Not given.").text("both") == "A."
    assert Report().text("both") == ""
