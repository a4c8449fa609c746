"""Write what a chat model's answers are worth as chat.json and answers.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from thoracle.cohort.vqa.vqa_file import QuestionSet
from thoracle.evaluation.chat.metrics import AnsweredQuestion
from thoracle.evaluation.html.plain_json import plain_json
from thoracle.inference.labeler.rules import RuleLabeller
from thoracle.metrics.bootstrap import Interval
from thoracle.types import RESEARCH_USE


def chat_json(
    seeing: Mapping[str, Interval],
    blind: Mapping[str, Interval],
    *,
    diversity: Mapping[str, float],
    questions: int,
    judge: str,
    caution: str,
) -> dict[str, Any]:
    """Build the document of chat.json, with null for NaN.

    Args:
        seeing, blind: metrics of the answers with the scan and without.
        diversity: of the reports.
        questions: how many were answered.
        judge: the model that judged, and where; empty without.
        caution: the chat folder's.
    """
    document: dict[str, Any] = plain_json(
        {
            "notice": RESEARCH_USE,
            "caution": caution,
            "questions": questions,
            "judge": judge,
            "labelled by": RuleLabeller().settings(),
            "with the scan": {name: asdict(interval) for name, interval in seeing.items()},
            "without the scan": {name: asdict(interval) for name, interval in blind.items()},
            "diversity": dict(diversity),
        }
    )
    return document


def answers_json(conversations: Sequence[QuestionSet], answers: Sequence[AnsweredQuestion]) -> list[dict[str, str]]:
    """Build the document of answers.json: each question with its reference and its answer."""
    return [
        {"id": conversation.id, "question": answered.pair.question, "reference": answered.pair.answer, "answer": answered.answer}
        for conversation, answered in zip(conversations, answers, strict=True)
    ]
