from __future__ import annotations

import json
from pathlib import Path

import pytest

from thoracle.inference.labeler.english import has_words, is_english

SETS = Path(__file__).parent / "sentences"


def texts(name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (SETS / name).read_text(encoding="utf-8").splitlines()]


def test_reports_in_other_languages_are_not_english() -> None:
    rows = texts("foreign.jsonl")
    assert len(rows) == 120
    assert not [row["text"] for row in rows if is_english(row["text"])]


def test_short_english_impressions_are_english() -> None:
    rows = texts("english.jsonl")
    assert len(rows) == 40
    assert not [row["text"] for row in rows if not is_english(row["text"])]


@pytest.mark.parametrize("text", ["Seen by Dr. José Núñez: the lungs are clear.", "Müller's study was compared with this one.", "Normal."])
def test_a_name_makes_no_report_foreign(text: str) -> None:
    assert is_english(text)


@pytest.mark.parametrize("text", ["肺野清晰，未见结节。", "Легкие без очаговых изменений.", "Χωρίς πλευριτική συλλογή."])
def test_other_alphabets_are_not_english(text: str) -> None:
    assert not is_english(text)


def test_words_are_told_from_numbers() -> None:
    assert has_words("nodule 3 mm")
    assert not has_words("3.5 / 12 - x")
