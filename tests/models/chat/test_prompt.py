"""A conversation as ids: scans have their rows, answers alone are scored, and nobody's words become a scan."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thoracle.errors import CapabilityMissing
from thoracle.models.chat.language_model import load_language_model
from thoracle.models.chat.prompt import IMAGE, IMAGE_TOKEN_INDEX, TASKS, ChatTemplate, Message, question_text

TALK = [
    Message(role="system", content="Be brief."),
    Message(role="user", content=question_text("Is an <image>effusion there?", task="short_answer", images=1)),
    Message(role="assistant", content="Yes."),
    Message(role="user", content=question_text("Where?", task="long_answer")),
    Message(role="assistant", content="Left."),
]


def test_a_users_turn_is_scans_question_and_kind_of_answer() -> None:
    assert TASKS == ("long_answer", "short_answer", "multiple_choice", "report_generation")
    assert question_text("  Where? ", task="short_answer") == "Where? <short_answer>"
    assert question_text("Is it there?", task="long_answer", images=2) == "<image>\n<image>\nIs it there? <long_answer>"


@given(question=st.lists(st.sampled_from(["<im", "age>", IMAGE, "a"])).map("".join), images=st.integers(0, 3))
def test_no_question_smuggles_in_a_scan(question: str, images: int) -> None:
    assert question_text(question, task="short_answer", images=images).count(IMAGE) == images


def test_a_scan_that_is_left_when_another_is_taken_out_is_taken_out_too() -> None:
    assert question_text("Is <im<image>age>it there?", task="short_answer") == "Is it there? <short_answer>"


def test_an_answer_or_data_in_which_a_scan_is_written_shows_none(base: Path) -> None:
    template = ChatTemplate(load_language_model(base).tokenizer, rows=2)
    for role in ("assistant", "tool"):
        turns = [Message(role="user", content="Where?"), Message(role=role, content="The <image>left.")]
        assert IMAGE_TOKEN_INDEX not in template.encode(turns).ids
        assert template.encode(turns) == template.encode([turns[0], Message(role=role, content="The left.")])


def test_only_answers_are_scored_and_a_scan_takes_its_rows(base: Path) -> None:
    tokenizer = load_language_model(base).tokenizer
    encoded = ChatTemplate(tokenizer, rows=3).encode(TALK)
    assert [number for number in encoded.ids if number < 0] == [IMAGE_TOKEN_INDEX] * 3
    scored = [number for number, counts in zip(encoded.ids, encoded.loss_mask, strict=True) if counts]
    assert tokenizer.decode(scored) == "Yes.<|end|>Left.<|end|>"
    asked = ChatTemplate(tokenizer, rows=3).encode(TALK[:-1])
    assert encoded.ids[: len(asked)] == asked.ids, "what is generated from is what was trained on"
    assert not any(asked.loss_mask[asked.loss_mask.index(True) + 4 :])


@pytest.mark.parametrize("rows", [1, 5])
def test_ids_but_for_scans_are_those_of_the_rendered_text(base: Path, rows: int) -> None:
    tokenizer = load_language_model(base).tokenizer
    turns = [Message(role="user", content=question_text("Is it there?", task="short_answer", images=2)), *TALK[2:3]]
    encoded = ChatTemplate(tokenizer, rows=rows).encode(turns)
    assert len(encoded) == len(encoded.ids) == len(encoded.loss_mask)
    scans = [at for at, number in enumerate(encoded.ids) if number == IMAGE_TOKEN_INDEX]
    assert len(scans) == 2 * rows
    assert not any(encoded.loss_mask[at] for at in scans)
    words = tokenizer.decode([number for number in encoded.ids if number >= 0])
    assert words == "<|user|>\n\nIs it there? <short_answer><|end|><|assistant|>Yes.<|end|>"


def test_a_conversation_that_waits_for_an_answer_ends_where_it_begins(base: Path) -> None:
    tokenizer = load_language_model(base).tokenizer
    for role in ("user", "tool"):
        encoded = ChatTemplate(tokenizer, rows=1).encode([Message(role=role, content="Where?")])
        assert tokenizer.decode(encoded.ids) == f"<|{role}|>Where?<|end|><|assistant|>"
        assert not any(encoded.loss_mask)


def test_templates_that_are_missing_refuse_a_turn_or_rewrite_are_said(base: Path) -> None:
    tokenizer = load_language_model(base).tokenizer
    tokenizer.chat_template = "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}{% endfor %}"
    with pytest.raises(CapabilityMissing, match=r"does not take turns of system, user \(no\).*--llm-url"):
        ChatTemplate(tokenizer, rows=1).encode(TALK[:2])
    tokenizer.chat_template = "{{ messages | length }}{{ messages[-1]['content'] }}"
    with pytest.raises(CapabilityMissing, match=r"rewrites earlier turns.*adds turns at the end"):
        ChatTemplate(tokenizer, rows=1).encode(TALK)
    with pytest.raises(CapabilityMissing, match=r"no chat template.*chat_template\.jinja") as error:
        ChatTemplate(SimpleNamespace(chat_template=None, name_or_path="phantom"), rows=1)
    assert error.value.source == "phantom"
