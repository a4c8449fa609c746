"""A conversation as ids: templates are tried before they are used, scans have their rows, answers alone are scored."""

from __future__ import annotations

import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest

from tests.injections import ASKED, INJECTIONS
from thoracle.errors import CapabilityMissing
from thoracle.inference.llm.data_turn import escape_text
from thoracle.models.chat.chat_template import ChatTemplate, Encoded
from thoracle.models.chat.language_model import load_language_model
from thoracle.models.chat.layout import Layout
from thoracle.models.chat.prompt import IMAGE, IMAGE_TOKEN_INDEX, Message, question_text

TALK = [
    Message(role="system", content="Be brief."),
    Message(role="user", content=question_text("Is an <image>effusion there?", task="short_answer", images=1)),
    Message(role="assistant", content="Yes."),
    Message(role="user", content=question_text("Where?", task="long_answer")),
    Message(role="assistant", content="Left."),
]


DATA = Message(role="tool", content="F1: effusion 0.9")
#: Published templates, and one that demands what Gemma 3's does.
PUBLISHED = [
    *sorted(path.name for path in Path(os.environ.get("THORACLE_DATA", "../shared/data"), "chat-templates").glob("*.jinja")),
    "gemma3.jinja",
]


def _published(name: str, base: Path, data: Path) -> Any:
    tokenizer = load_language_model(base).tokenizer
    folder = Path(__file__).parent if name == "gemma3.jinja" else data / "chat-templates"
    tokenizer.chat_template, tokenizer.bos_token = (folder / name).read_text(), "<|pad|>"
    return tokenizer


def _words(tokenizer: Any, encoded: Encoded) -> str:
    return str(tokenizer.decode([number for number in encoded.ids if number >= 0]))


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_template_says_all_in_order_and_trains_on_what_answering_sends(name: str, base: Path, data_dir: Path) -> None:
    tokenizer = _published(name, base, data_dir)
    template = ChatTemplate(tokenizer, rows=2)
    asked = [*TALK[:2], DATA, *TALK[2:4]]
    text = _words(tokenizer, template.encode(asked))
    at = [text.find(part) for part in ("Be brief.", DATA.content, "Is an effusion there?", "Yes.", "Where?")]
    assert min(at) >= 0
    assert at == sorted(at)
    assert template.encode(asked).ids.count(IMAGE_TOKEN_INDEX) == 2
    assert not re.search(r"<think>\s*$|START_THINKING\|>\s*$", text), "no thought is left open"
    prompts = [template.encode(TALK[:number]).ids for number in (2, 4)]
    rows = template.encode_answers(TALK)
    begins = [row.ids[:k] for row in rows for k in range(1, len(row)) if row.loss_mask[k] and not row.loss_mask[k - 1]]
    assert begins == prompts
    for row, answers in zip(rows, [("Yes.", "Left.")] if len(rows) == 1 else [("Yes.",), ("Left.",)], strict=True):
        scored = tokenizer.decode([number for number, counts in zip(row.ids, row.loss_mask, strict=True) if counts])
        assert all(answer in scored for answer in answers)
        assert "Where?" not in scored
        assert row.loss_mask[-1]


@pytest.mark.parametrize("name", ["Qwen3.5-4B.jinja", "meta-llama-Llama-3.2-3B-Instruct.jinja"])
def test_a_tools_turn_is_taken_only_where_it_is_asked_for(name: str, base: Path, data_dir: Path) -> None:
    tokenizer = _published(name, base, data_dir)
    assert ChatTemplate(tokenizer, rows=1).layout == Layout()
    assert ChatTemplate(tokenizer, rows=1, evidence="tool").layout.evidence == "tool"


def test_a_system_turn_that_is_refused_or_lost_stands_in_the_users(base: Path, data_dir: Path) -> None:
    for name in ("google-gemma-2-2b-it.jinja", "mistralai-Mistral-Nemo-Instruct-2407.jinja"):
        assert ChatTemplate(_published(name, base, data_dir), rows=1).layout == Layout(system="user")


@pytest.mark.parametrize("evidence", ["user", "tool"])
@pytest.mark.parametrize("name", ["meta-llama-Llama-3.2-3B-Instruct.jinja", "Qwen3.5-4B.jinja", "google-gemma-2-2b-it.jinja", ""])
def test_no_report_leaves_its_data_in_any_layout(name: str, evidence: Literal["user", "tool"], base: Path, data_dir: Path) -> None:
    """Against the same prompt with a harmless report: no more marks, no line of its own, nothing outside the data."""
    tokenizer = _published(name, base, data_dir) if name else load_language_model(base).tokenizer
    if evidence == "tool" and "gemma-2" in name:
        with pytest.raises(CapabilityMissing, match="does not take turns of"):
            ChatTemplate(tokenizer, rows=1, evidence=evidence)
        return
    template, special = ChatTemplate(tokenizer, rows=1, evidence=evidence), set(tokenizer.all_special_ids)

    def prompt(report: str) -> tuple[int, list[str]]:
        data = Message(role="tool", content=f"C1: {escape_text(report)}")
        encoded = template.encode([*TALK[:2], data, *TALK[2:4]])
        return sum(number in special for number in encoded.ids), _words(tokenizer, encoded).split("\n")

    marks, lines = prompt("Clear.")
    for injection in INJECTIONS:
        hostile_marks, hostile = prompt(injection)
        assert (hostile_marks, len(hostile)) == (marks, len(lines)), injection
        assert [line for line in hostile if ASKED in line] == [
            line for line, harmless in zip(hostile, lines, strict=True) if line != harmless
        ]


def test_no_turn_that_a_template_changes_becomes_a_scan(base: Path, data_dir: Path) -> None:
    """Qwen's takes thoughts out of earlier answers: what is left of `<im<think></think>age>` would be a scan."""
    template = ChatTemplate(_published("Qwen3.5-4B.jinja", base, data_dir), rows=3)
    smuggled = [*TALK[:2], Message(role="assistant", content=f"x</think>{IMAGE} <im<think></think>age>\ue000"), *TALK[3:4]]
    assert template.encode(smuggled).ids.count(IMAGE_TOKEN_INDEX) == 3, "the one scan's rows"


def test_an_answer_or_data_in_which_a_scan_is_written_shows_none(base: Path) -> None:
    template = ChatTemplate(load_language_model(base).tokenizer, rows=2)
    for role in ("assistant", "tool"):
        turns = [TALK[0], Message(role="user", content="Where?"), Message(role=role, content="The <image>left."), TALK[3]]
        assert IMAGE_TOKEN_INDEX not in template.encode(turns).ids
        assert template.encode(turns) == template.encode([*turns[:2], Message(role=role, content="The left."), turns[3]])


def test_only_answers_are_scored_and_a_scan_takes_its_rows(base: Path) -> None:
    tokenizer = load_language_model(base).tokenizer
    (encoded,) = ChatTemplate(tokenizer, rows=3).encode_answers(TALK)
    assert [number for number in encoded.ids if number < 0] == [IMAGE_TOKEN_INDEX] * 3
    scored = [number for number, counts in zip(encoded.ids, encoded.loss_mask, strict=True) if counts]
    assert tokenizer.decode(scored) == "Yes.<|end|>Left.<|end|>"
    asked = ChatTemplate(tokenizer, rows=3).encode(TALK[:-1])
    assert encoded.ids[: len(asked)] == asked.ids, "what is generated from is what was trained on"


@pytest.mark.parametrize("rows", [1, 5])
def test_ids_but_for_scans_are_those_of_the_rendered_text(base: Path, rows: int) -> None:
    tokenizer = load_language_model(base).tokenizer
    turns = [Message(role="user", content=question_text("Is it there?", task="short_answer", images=2)), *TALK[2:3]]
    (encoded,) = ChatTemplate(tokenizer, rows=rows).encode_answers(turns)
    assert len(encoded) == len(encoded.ids) == len(encoded.loss_mask)
    scans = [at for at, number in enumerate(encoded.ids) if number == IMAGE_TOKEN_INDEX]
    assert len(scans) == 2 * rows
    assert not any(encoded.loss_mask[at] for at in scans)
    words = tokenizer.decode([number for number in encoded.ids if number >= 0])
    assert words == "<|user|>\n\nIs it there? <short_answer><|end|><|assistant|>Yes.<|end|>"


def test_a_conversation_that_waits_for_an_answer_ends_where_it_begins(base: Path) -> None:
    tokenizer = load_language_model(base).tokenizer
    encoded = ChatTemplate(tokenizer, rows=1).encode([Message(role="user", content="Where?")])
    assert tokenizer.decode(encoded.ids) == "<|user|>Where?<|end|><|assistant|>"
    assert not any(encoded.loss_mask)


def test_templates_that_are_missing_refuse_or_lose_a_turn_are_said_when_they_are_opened(base: Path) -> None:
    tokenizer = load_language_model(base).tokenizer
    for template, reason in {
        "{{ raise_exception('no') }}": r"does not take turns of system, user \(no\).*--llm-url",
        "{% for m in messages %}{{ m['content'] + 1 }}{% endfor %}": "does not take turns of system, user",
        "{{ messages | length }}{{ messages[-1]['content'] }}": "loses the system",
        "{{ messages[0]['content'] }} {{ messages[-1]['content'].replace('\ue000', '') }}": "loses the place of a scan",
        "{% for m in messages if m['role'] != 'assistant' %}{{ m['content'] }}{% endfor %}": "loses an answer",
        "{% for m in messages %}{{ m['content'].split('\n\n')[-1] }}{% endfor %}": "loses the data",
    }.items():
        tokenizer.chat_template = template
        with pytest.raises(CapabilityMissing, match=reason) as error:
            ChatTemplate(tokenizer, rows=1)
        assert error.value.source == tokenizer.name_or_path
    with pytest.raises(CapabilityMissing, match=r"no chat template.*chat_template\.jinja") as error:
        ChatTemplate(SimpleNamespace(chat_template=None, name_or_path="phantom"), rows=1)
    assert error.value.source == "phantom"


def test_a_template_that_rewrites_earlier_turns_has_a_sequence_for_each(base: Path) -> None:
    """This one says how many turns there are: no sequence of two answers has both prompts as they are sent."""
    tokenizer = load_language_model(base).tokenizer
    tokenizer.chat_template = f"{{{{ messages | length }}}}{tokenizer.chat_template}"
    template = ChatTemplate(tokenizer, rows=1)
    first, second = template.encode_answers(TALK)
    assert _words(tokenizer, first) == "3<|user|>\nIs an effusion there? <short_answer><|end|><|assistant|>Yes.<|end|>".replace("3", "1")
    assert _words(tokenizer, second).startswith("3")
    assert first.ids[: first.loss_mask.index(True)] == template.encode(TALK[:2]).ids
    assert second.ids[: second.loss_mask.index(True)] == template.encode(TALK[:4]).ids
