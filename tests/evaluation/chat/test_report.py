"""The documents of a chat's evaluation."""

from __future__ import annotations

import json
import math

from thoracle.cohort.vqa.vqa_file import QuestionAnswer, QuestionSet
from thoracle.evaluation.chat.metrics import AnsweredQuestion
from thoracle.evaluation.chat.report import BLIND, SEEING, answers_json, chat_json
from thoracle.metrics.bootstrap import Interval
from thoracle.types import RESEARCH_USE


def test_figures_stand_beside_those_without_the_scan() -> None:
    half, none = Interval(value=0.5, low=0.25, high=0.75), Interval(value=math.nan, low=math.nan, high=math.nan)
    document = chat_json(
        {SEEING: {"CRG": half}, BLIND: {"CRG": none}}, {BLIND: {"CRG": half}}, diversity={"distinct reports": 1.0}, questions=9,
        answered_by={"model": "chat"}, judge="", caution="Phantoms only.",
    )  # fmt: skip
    assert json.loads(json.dumps(document)) == document
    assert (document["notice"], document["caution"], document["questions"]) == (RESEARCH_USE, "Phantoms only.", 9)
    assert document["with the scan"]["CRG"] == {"value": 0.5, "low": 0.25, "high": 0.75}
    assert document["without the scan"]["CRG"]["value"] is None
    assert document["differences"] == {"with the scan minus without the scan": {"CRG": document["with the scan"]["CRG"]}}
    assert document["answered by"] == {"model": "chat"}


def test_each_answer_stands_with_its_reference() -> None:
    pair = QuestionAnswer(question="Is it?", answer="Yes", task="short_answer", type="short_answer")
    answers = answers_json([QuestionSet(id="a", images=("v",), pairs=(pair,))], [AnsweredQuestion(patient="p", pair=pair, answer="No")])
    assert answers == [{"id": "a", "question": "Is it?", "reference": "Yes", "answer": "No"}]
