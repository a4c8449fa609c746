"""Write what a chat model's answers are worth as chat.json and answers.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from thoracle.cohort.vqa.vqa_file import QuestionSet
from thoracle.evaluation.chat.metrics import AnsweredQuestion
from thoracle.evaluation.html.plain_json import plain_json
from thoracle.inference.labeler.rules import RuleLabeller
from thoracle.metrics.bootstrap import Interval
from thoracle.types import RESEARCH_USE

#: Columns of figures: a model's own, with the scan and without, and those of a file of answers.
SEEING: Final = "with the scan"
BLIND: Final = "without the scan"
FILE: Final = "of the file"


def chat_json(
    figures: Mapping[str, Mapping[str, Interval]],
    differences: Mapping[str, Mapping[str, Interval]],
    *,
    diversity: Mapping[str, float],
    questions: int,
    answered_by: Mapping[str, Any],
    judge: str,
    caution: str,
) -> dict[str, Any]:
    """Build the document of chat.json, with null for NaN.

    Args:
        figures: metrics of each column's answers, by its name.
        differences: by how much the first column's are above those of another one, by its name.
        diversity: of the first column's reports.
        questions: how many were answered.
        answered_by: who answered, and of an assistant which slices it was shown.
        judge: the model that judged, and where; empty without.
        caution: the chat folder's.
    """
    document: dict[str, Any] = plain_json(
        {
            "notice": RESEARCH_USE,
            "caution": caution,
            "questions": questions,
            "answered by": dict(answered_by),
            "judge": judge,
            "labelled by": RuleLabeller().settings(),
            **{column: _as_dicts(metrics) for column, metrics in figures.items()},
            "differences": {f"{next(iter(figures))} minus {column}": _as_dicts(metrics) for column, metrics in differences.items()},
            "diversity": dict(diversity),
        }
    )
    return document


def _as_dicts(metrics: Mapping[str, Interval]) -> dict[str, dict[str, float]]:
    return {name: asdict(interval) for name, interval in metrics.items()}


def answers_json(conversations: Sequence[QuestionSet], answers: Sequence[AnsweredQuestion]) -> list[dict[str, str]]:
    """Build the document of answers.json: each question with its reference and its answer."""
    return [
        {"id": conversation.id, "question": answered.pair.question, "reference": answered.pair.answer, "answer": answered.answer}
        for conversation, answered in zip(conversations, answers, strict=True)
    ]
