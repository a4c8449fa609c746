"""Files of questions to be answered by anybody, and of their answers.

Answers are a JSON list of `{"id": …, "answer": …}`; other keys, such as those of our own answers.json, are passed over.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from thoracle.cohort.manifest import CohortEntry
from thoracle.cohort.vqa.vqa_file import LONGEST, QuestionSet
from thoracle.errors import InputError
from thoracle.evaluation.chat.metrics import AnsweredQuestion, patient_of
from thoracle.files.json_file import load_json

_BUDGET: Final = 1 << 28
_NAMED: Final = 5
_HINT: Final = 'Give a JSON list of {"id": …, "answer": …}, one for each question of questions.json.'


def questions_json(conversations: Sequence[QuestionSet]) -> list[dict[str, Any]]:
    """Build the document of questions.json: what is asked, about which volumes, after which turns; without the answers."""
    return [
        {
            "id": conversation.id,
            "images": list(conversation.images),
            "earlier": [{"question": pair.question, "answer": pair.answer} for pair in conversation.pairs[:-1]],
            "question": conversation.pairs[-1].question,
            "task": conversation.pairs[-1].task,
        }
        for conversation in conversations
    ]


def read_answers(
    path: Path, conversations: Sequence[QuestionSet], entries: Mapping[str, CohortEntry]
) -> tuple[list[AnsweredQuestion], str]:
    """Read anybody's answers to questions, and a sentence on those to other questions; "" where there are none.

    Args:
        path: of the file.
        conversations: whose last questions were asked.
        entries: of the cohort, by volume.

    Raises:
        InputError: no such file, another form, one question answered twice, a question without an answer, or two of one id.
    """
    answers = _read(path)
    if twice := [name for name, count in Counter(conversation.id for conversation in conversations).items() if count > 1]:
        detail = f"cannot say which of the questions that are called {_names(twice)} an answer is to"
        raise InputError(detail, hint="Give each conversation of the question file an id of its own.", source=path)
    missing = [conversation.id for conversation in conversations if conversation.id not in answers]
    if missing:
        detail = f"answers {len(conversations) - len(missing):,} of {len(conversations):,} questions, not {_names(missing)}"
        raise InputError(detail, hint='Answer all of questions.json, with "" where there is no answer.', source=path)
    extra = sorted(answers.keys() - {conversation.id for conversation in conversations})
    note = f"{path} answers {len(extra):,} questions that are not asked here, and not scored: {_names(extra)}." if extra else ""
    return [
        AnsweredQuestion(patient=patient_of(conversation, entries), pair=conversation.pairs[-1], answer=answers[conversation.id].strip())
        for conversation in conversations
    ], note


def _read(path: Path) -> dict[str, str]:
    try:
        values = load_json(path, budget=_BUDGET)
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", hint=_HINT, source=path) from error
    except ValueError as error:
        raise InputError(f"is no file of answers ({str(error)[:120]})", hint=_HINT, source=path) from error
    if not isinstance(values, list):
        raise InputError(f"is no file of answers (a {type(values).__name__} where a list was expected)", hint=_HINT, source=path)
    answers: dict[str, str] = {}
    for number, entry in enumerate(values):
        if reason := _fault(entry, answers):
            raise InputError(f"entry {number}: {reason}", hint=_HINT, source=path)
        answers[str(entry["id"])] = entry["answer"]
    return answers


def _fault(entry: Any, answers: Mapping[str, str]) -> str:
    """Say what is wrong with an entry; "" where nothing is."""
    if not isinstance(entry, dict) or type(entry.get("id")) not in (str, int):
        return "no object with an id"
    shown = json.dumps(str(entry["id"])[:80])
    if not isinstance(entry.get("answer"), str):
        return f"its answer to {shown} is no text"
    if len(entry["answer"]) > LONGEST:
        return f"its answer to {shown} has more than {LONGEST:,} characters"
    return f"a second answer to {shown}" if str(entry["id"]) in answers else ""


def _names(ids: Sequence[str]) -> str:
    """Name the first few."""
    return ", ".join(json.dumps(name[:80]) for name in ids[:_NAMED]) + (", …" if len(ids) > _NAMED else "")
