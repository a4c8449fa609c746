from __future__ import annotations

import json
from pathlib import Path

import pytest

from thoracle.cohort.vqa.vqa_file import QuestionAnswer, QuestionSet, read_vqa, write_questions
from thoracle.errors import InputError, MetadataError

PAIR = QuestionAnswer(
    question="Is there an effusion?", answer="Yes.", task="short_answer", type="short_answer", topic="presence", about="x"
)
SETS = (QuestionSet(id="1", images=("a.nii.gz",), pairs=(PAIR, PAIR)), QuestionSet(id="2", images=("a", "b"), pairs=(PAIR,)))


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    write_questions(tmp_path / "vqa.json", SETS)
    assert read_vqa(tmp_path / "vqa.json") == SETS
    first = json.loads((tmp_path / "vqa.json").read_text())[0]["conversations"]
    assert first[0]["value"] == "<image>\nIs there an effusion? <short_answer>"
    assert "<image>" not in first[2]["value"]


def test_a_published_entry_without_a_task_token_has_that_of_its_type(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "<image>\nWhich lobe?", "type": "multiple_choice"}, {"from": "gpt", "value": "(a)"}]
    (tmp_path / "vqa.json").write_text(json.dumps([{"id": 7, "image": "v", "conversations": turns}]))
    ((pair,),) = (conversation.pairs for conversation in read_vqa(tmp_path / "vqa.json"))
    assert (pair.question, pair.task, pair.topic) == ("Which lobe?", "multiple_choice", "")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "cannot be read"),
        ("{}", "no list"),
        ('[{"id": 1, "image": "v", "conversations": []}]', "entry 0"),
        ('[{"id": 1, "image": "v", "conversations": [{"from": "gpt", "value": "x"}, {"from": "gpt", "value": "y"}]}]', "human"),
        ('[{"id": 1, "image": 3, "conversations": []}]', "entry 0"),
    ],
)
def test_another_form_is_refused_with_its_entry(content: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "vqa.json").write_text(content)
    with pytest.raises(MetadataError, match=why):
        read_vqa(tmp_path / "vqa.json")
    with pytest.raises(InputError, match="no such file"):
        read_vqa(tmp_path / "absent.json")
