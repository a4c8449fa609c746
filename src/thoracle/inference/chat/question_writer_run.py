"""Questions of many reports, a few at a time; each report's are kept as they come, so that a run that was stopped asks for none twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from thoracle.cohort.vqa.vqa_file import QuestionAnswer
from thoracle.errors import AnswerFailed
from thoracle.inference.chat.question_writer import SYSTEM, WrittenQuestions, write_questions
from thoracle.inference.llm.answer_journal import ask_all
from thoracle.inference.llm.generator import TextGenerator


def write_all_questions(
    generate: TextGenerator,
    reports: Mapping[str, str],
    *,
    llm: str,
    journal: Path,
    max_tokens: int = 4096,
    check: Callable[[], None] = lambda: None,
    close: Callable[[], None] = lambda: None,
) -> Iterator[tuple[str, WrittenQuestions | AnswerFailed]]:
    """Write questions for each volume, and yield them as they come; or why a report has none.

    Args:
        generate: the language model.
        reports: by volume.
        llm: its name.
        journal: a file of lines, one a report, made where it is not there; a line of another report, prompt or model is not gone by.
        max_tokens: of an answer.
        check, close: as `ask_all`.

    Raises:
        OutputConflict: another run writes the journal.
        ThoracleError: as `generate`; what was written before is kept.
    """
    keys = {sha256(f"{SYSTEM}\0{llm}\0{volume}\0{report}".encode()).hexdigest(): volume for volume, report in reports.items()}
    ask = partial(_written, generate, max_tokens=max_tokens)
    questions = {key: reports[volume] for key, volume in keys.items()}
    for key, answer in ask_all(ask, questions, journal=journal, check=check, close=close):
        yield keys[key], answer if isinstance(answer, AnswerFailed) else _read(answer)


def _written(generate: TextGenerator, report: str, *, max_tokens: int) -> dict[str, Any]:
    return asdict(write_questions(generate, report, max_tokens=max_tokens))


def _read(answer: Mapping[str, Any]) -> WrittenQuestions:
    pairs = tuple(QuestionAnswer(**pair) for pair in answer["pairs"])
    return WrittenQuestions(pairs=pairs, dropped=answer["dropped"], why=answer["why"])
