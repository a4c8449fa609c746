"""Which held-out questions are asked, in which order, and how answers are labelled."""

from __future__ import annotations

import pytest

from thoracle.cohort.vqa.vqa_file import QuestionAnswer, QuestionSet
from thoracle.errors import InputError
from thoracle.evaluation.chat.answers import draw_questions, label_texts
from thoracle.types import ABNORMALITIES


def conversation(number: int, scan: str, topic: str) -> QuestionSet:
    pair = QuestionAnswer(question="?", answer="!", task="short_answer", type="short_answer", topic=topic)
    return QuestionSet(id=str(number), images=(scan,), pairs=(pair,))


def test_so_many_questions_and_reports_are_drawn_and_those_of_a_scan_stand_together() -> None:
    topics = ("presence", "report", "side", "report", "presence", "count", "report")
    conversations = [conversation(number, "ab"[number % 2], topic) for number, topic in enumerate(topics)]
    drawn = draw_questions(conversations, limit=3, reports=2)
    assert [one.id for one in drawn] == ["0", "2", "4", "1", "3"]
    assert draw_questions(conversations, limit=99, reports=0) == tuple(conversations[n] for n in (0, 2, 4, 5))


def test_only_questions_of_the_topics_are_drawn_and_reports_beside_them() -> None:
    topics = ("presence", "report", "side", "region", "presence", "side")
    conversations = [conversation(number, "a", topic) for number, topic in enumerate(topics)]
    drawn = draw_questions(conversations, limit=3, reports=9, topics=["presence", "region"])
    assert [one.id for one in drawn] == ["0", "3", "4", "1"]
    assert draw_questions(conversations, limit=1, reports=0, topics=["side", "region"]) == (conversations[2],)
    with pytest.raises(InputError, match=r"no question asks for shape or lobe"):
        draw_questions(conversations, limit=3, reports=1, topics=["shape", "lobe"])


def test_a_text_that_cannot_be_read_states_nothing() -> None:
    labels = label_texts(["There is a pleural effusion.", ""])
    assert labels.shape == (2, 18)
    assert labels[0, ABNORMALITIES.index("Pleural effusion")] == 1
    assert labels[1].sum() == 0
