"""Answers of anybody: as they are written, and what is refused of files that lie."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from thoracle.cohort.manifest import CohortEntry
from thoracle.cohort.reports import Report
from thoracle.cohort.vqa.vqa_file import QuestionAnswer, QuestionSet
from thoracle.errors import InputError
from thoracle.evaluation.chat.answer_file import questions_json, read_answers
from thoracle.types import ABNORMALITIES


def _pair(question: str, answer: str) -> QuestionAnswer:
    return QuestionAnswer(question=question, answer=answer, task="short_answer", type="short_answer", topic="presence")


ENTRY = CohortEntry(
    volume="v", scan="s", patient="one", split="valid", source_sha256="", cache="", cache_sha256="", report=Report(),
    labels=(None,) * len(ABNORMALITIES),
)  # fmt: skip
CONVERSATIONS = [
    QuestionSet(id="v:0", images=("v",), pairs=(_pair("First?", "Yes."), _pair("Second?", "No."))),
    QuestionSet(id="7", images=(), pairs=(_pair("Of no scan?", "Yes."),)),
]


def _read(path: Path, content: object) -> tuple[list[tuple[str, str]], str]:
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    answered, note = read_answers(path, CONVERSATIONS, {"v": ENTRY})
    return [(answer.patient, answer.answer) for answer in answered], note


def test_what_is_asked_is_written_without_its_answer() -> None:
    first, second = questions_json(CONVERSATIONS)
    assert first == {
        "id": "v:0", "images": ["v"], "earlier": [{"question": "First?", "answer": "Yes."}], "question": "Second?", "task": "short_answer",
    }  # fmt: skip
    assert "Yes." not in json.dumps(second)


def test_answers_are_taken_in_any_order_by_numbers_too_and_those_of_others_are_named(tmp_path: Path) -> None:
    entries = [{"id": 7, "answer": " Yes. "}, {"id": "v:0", "answer": "", "question": "passed over"}]
    assert _read(tmp_path / "a.json", entries) == ([("one", ""), ("7", "Yes.")], "")
    entries += [{"id": f"x{number}", "answer": ""} for number in range(6)]
    answered, note = _read(tmp_path / "a.json", entries)
    assert answered == [("one", ""), ("7", "Yes.")]
    assert note.endswith('answers 6 questions that are not asked here, and not scored: "x0", "x1", "x2", "x3", "x4", ….')


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is no file of answers"), (b"\xff\xfe\x00", "is no file of answers"), (b"[" * 10**6, "nested too deep"),
        ({"v:0": "Yes."}, "a dict where a list was expected"), (["Yes."], "entry 0: no object with an id"),
        ([{"answer": "Yes."}], "entry 0: no object with an id"), ([{"id": True, "answer": "Yes."}], "entry 0: no object with an id"),
        ([{"id": ["v:0"], "answer": "Yes."}], "entry 0: no object with an id"),
        ([{"id": "v:0"}], 'entry 0: its answer to "v:0" is no text'),
        ([{"id": "v:0", "answer": None}], "is no text"), ([{"id": "v:0", "answer": "x" * 50_001}], "more than 50,000 characters"),
        ([{"id": "7", "answer": ""}, {"id": 7, "answer": ""}], 'entry 1: a second answer to "7"'),
        ([{"id": "7", "answer": "Yes."}], 'answers 1 of 2 questions, not "v:0"'),
        ([{"id": "\x1b[2J", "answer": 1}], r"\u001b[2J"),
    ],
)  # fmt: skip
def test_files_that_are_none_are_refused_by_what_is_wrong(content: object, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        _read(tmp_path / "a.json", content)
    assert words in str(refused.value)
    assert "\x1b" not in str(refused.value)


def test_questions_of_one_id_cannot_be_told_apart(tmp_path: Path) -> None:
    other = QuestionSet(id="7", images=("v",), pairs=(_pair("Another?", "No."),))
    (tmp_path / "a.json").write_text('[{"id": "7", "answer": "Yes."}, {"id": "v:0", "answer": "No."}]')
    with pytest.raises(InputError, match='cannot say which of the questions that are called "7" an answer is to'):
        read_answers(tmp_path / "a.json", [*CONVERSATIONS, other], {"v": ENTRY})


def test_a_file_that_is_not_there_or_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_answers(tmp_path / "none.json", CONVERSATIONS, {"v": ENTRY})
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate((1 << 28) + 1)
    with pytest.raises(InputError, match="more than 268,435,456 bytes"):
        read_answers(tmp_path / "large.json", CONVERSATIONS, {"v": ENTRY})
