from __future__ import annotations

import json
from pathlib import Path

import pytest

from thoracle.cohort.vqa.question_file import open_questions
from thoracle.cohort.vqa.vqa_file import QuestionAnswer, QuestionSet, parse_entry, write_questions

PAIR = QuestionAnswer(
    question="Is there an effusion?", answer="Yes.", task="short_answer", type="short_answer", topic="presence", about="x"
)
SETS = (QuestionSet(id="1", images=("a.nii.gz",), pairs=(PAIR, PAIR)), QuestionSet(id="2", images=("a", "b"), pairs=(PAIR,)))


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    write_questions(tmp_path / "vqa.json", SETS)
    assert tuple(open_questions(tmp_path / "vqa.json")) == SETS
    first = json.loads((tmp_path / "vqa.json").read_text())[0]["conversations"]
    assert first[0]["value"] == "<image>\nIs there an effusion? <short_answer>"
    assert "<image>" not in first[2]["value"]


def test_a_published_entry_without_a_task_token_has_that_of_its_type(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "<image>\nWhich lobe?", "type": "multiple_choice"}, {"from": "gpt", "value": "(a)"}]
    (tmp_path / "vqa.json").write_text(json.dumps([{"id": 7, "image": "v", "conversations": turns}]))
    ((pair,),) = (conversation.pairs for conversation in open_questions(tmp_path / "vqa.json"))
    assert (pair.question, pair.task, pair.topic) == ("Which lobe?", "multiple_choice", "choice")


@pytest.mark.parametrize(
    ("kind", "tag", "topic"),
    [
        ("report_generation", " <report_generation>", "report"), ("multiple_choice", "", "choice"), ("short_answer", "", "short"),
        ("free_response", " <long_answer>", "long"), ("description", "", "long"), ("conversation", " <long_answer>", "long"),
        ("", " <multiple_choice>", "choice"), ("", "", "long"), ("of another kind", " <short_answer>", "short"),
    ],
)  # fmt: skip
def test_a_published_questions_topic_is_that_of_its_type_or_of_the_answer_it_wants(kind: str, tag: str, topic: str) -> None:
    asked = {"from": "human", "value": f"<image>\nWhat?{tag}", **({"type": kind} if kind else {})}
    entry = {"id": 1, "image": "v", "conversations": [asked, {"from": "gpt", "value": "That."}]}
    assert parse_entry(entry).pairs[0].topic == topic


@pytest.mark.parametrize("image", [{}, {"image": None}, {"image": ""}])
def test_an_entry_without_an_image_is_about_no_scan(image: dict[str, object], tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "What is emphysema?"}, {"from": "gpt", "value": "Wide air spaces."}]
    conversation = parse_entry({"id": "general", **image, "conversations": turns})
    assert conversation.images == ()
    write_questions(tmp_path / "vqa.json", [conversation])
    assert "image" not in json.loads((tmp_path / "vqa.json").read_text())[0]
    assert tuple(open_questions(tmp_path / "vqa.json")) == (conversation,)
