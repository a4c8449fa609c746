"""Conversations through a language model's own chat template to ids, with places for scans.

A template is another's program: it may refuse a role, lose a turn's words or rewrite earlier turns. It is tried when a folder is opened,
and the first layout that it renders whole is taken. Training sees what answering sends: the ids before an answer are those of the prompt
that asks for it. Where the template rewrites earlier turns, each turn is a sequence of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from thoracle.errors import CapabilityMissing
from thoracle.models.chat.layout import TEMPLATE_LAYOUTS, EvidencePlacement, Layout, to_turns
from thoracle.models.chat.prompt import IMAGE, IMAGE_TOKEN_INDEX, Message, without_scans

#: A template with this comment says that its model never learned a system's turn; of no other are the system's words dropped.
NO_SYSTEM: Final = "{#- thoracle: no system turn -#}"
#: Stand for a scan and for an answer while a template renders; Unicode's private use, which no text of a person or report needs.
SCAN, _ANSWER = "\ue000", "\ue001"
_PRIVATE: Final = re.compile(f"[{SCAN}{_ANSWER}]")
_THOUGHT: Final = re.compile(
    r"(?:[<\[](?P<name>(?!\|?END_)[\w:|]*think[\w:|]*)[>\]]|<\|open\|>think<\|sep\|>|<\|channel>thought)\s*$", re.IGNORECASE
)
_PART_OF_A_MARK: Final = re.compile(r"[<\[][^<>\[\]]*$")
_HINT: Final = "Give it a template that takes such turns, or a server with --llm-url."
#: What a template of another's writing may raise, beside jinja's own.
_RAISED: Final = (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, RecursionError)
#: What templates are given beside the turns: some go through a list of tools that is None.
_OPTIONS: Final[tuple[Mapping[str, Any], ...]] = ({}, {"tools": []})
_SYSTEM, _DATA, _QUESTION = "probe of the system", "probe of the data", "probe of the question"
_LATER: Final = ("probe of an answer", "probe of a second question", "probe of a second answer", "probe of a last question")
#: A conversation of three turns that no template has seen, and its beginning.
_OPENING: Final = (
    Message(role="system", content=_SYSTEM),
    Message(role="user", content=f"{IMAGE}\n{_QUESTION}"),
    Message(role="tool", content=_DATA),
)
_PROBE: Final = (
    *_OPENING,
    *(Message(role="user" if number % 2 else "assistant", content=text) for number, text in enumerate(_LATER)),
)


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Hold ids with `IMAGE_TOKEN_INDEX` for each row of a scan, and which of them are an assistant's words."""

    ids: tuple[int, ...]
    loss_mask: tuple[bool, ...]

    def __len__(self) -> int:
        return len(self.ids)


class ChatTemplate:
    """Render with one tokenizer's chat template.

    Args:
        tokenizer: of `transformers`, with a chat template.
        rows: that stand for a scan.
        evidence: where data stand: in the user's turn, or in a tool's.

    Attributes:
        layout: which turns hold the system's words and the data.

    Raises:
        CapabilityMissing: it has no chat template, or one that renders no layout whole.
    """

    def __init__(self, tokenizer: Any, *, rows: int, evidence: EvidencePlacement = "user") -> None:
        self._name = tokenizer.name_or_path or None
        if not tokenizer.chat_template:
            hint = "Put the model's chat_template.jinja into its folder: a conversation has no form without it."
            raise CapabilityMissing("the language model has no chat template", hint=hint, source=self._name)
        self._tokenizer, self._rows = tokenizer, rows
        self._ids = lru_cache(maxsize=1024)(self._tokenised)  # the system prompt comes with every question
        self.layout, self._options = self._whole_layout(evidence)
        self._closing = self._thought_closing()
        self._end = self._end_of_turn()

    def encode(self, messages: Sequence[Message]) -> Encoded:
        """Encode a conversation that waits for an answer, which begins behind the last id.

        Raises:
            CapabilityMissing: the template cannot say these turns.
        """
        ids = [number for text in self._prompt_pieces(messages) for number in self._with_scans(text)]
        return Encoded(ids=tuple(ids), loss_mask=(False,) * len(ids))

    def encode_answers(self, messages: Sequence[Message]) -> tuple[Encoded, ...]:
        """Encode a conversation whose answers are trained on: as one sequence, or as one for each answer.

        Raises:
            CapabilityMissing: the template cannot say these turns.
        """
        chain = self._chain(messages)
        if chain is not None:
            return (self._joined(chain),)
        answers = [number for number, message in enumerate(messages) if message.role == "assistant"]
        return tuple(self._joined(self._alone(messages[: number + 1])) for number in answers)

    def _joined(self, pieces: Sequence[tuple[str, bool]]) -> Encoded:
        parts = [(self._with_scans(text), counts) for text, counts in pieces]
        return Encoded(
            ids=tuple(number for ids, _ in parts for number in ids),
            loss_mask=tuple(counts for ids, counts in parts for _ in ids),
        )

    def _alone(self, messages: Sequence[Message]) -> list[tuple[str, bool]]:
        """The last answer behind the prompt that asks for it; what the template puts before an answer, where it goes on from the prompt."""
        before, prompt = list(self._prompt_pieces(messages[:-1])), self._prompt(messages[:-1])
        head, _ = self._around(messages)
        bridge = head[len(prompt) :] if head.startswith(prompt) else ""
        return [*((piece, False) for piece in before), (bridge + _plain(messages[-1]) + self._end, True)]

    def _prompt_pieces(self, messages: Sequence[Message]) -> Iterator[str]:
        """The prompt, cut where earlier answers begin and end, as in training; whole where the template rewrites them."""
        last = next((number for number, message in reversed([*enumerate(messages)]) if message.role == "assistant"), -1)
        chain, prompt = self._chain(messages[: last + 1]), self._prompt(messages)
        rendered = "".join(text for text, _ in chain or ())
        if chain and prompt.startswith(rendered):
            yield from (text for text, _ in chain)
            yield prompt[len(rendered) :]
        else:
            yield prompt

    def _chain(self, messages: Sequence[Message]) -> list[tuple[str, bool]] | None:
        """Prompts and answers in turn, each the going on of all before; None where the template rewrites earlier turns."""
        rendered, pieces = "", []
        for number, message in enumerate(messages, start=1):
            if message.role == "assistant":
                prompt, (head, tail) = self._prompt(messages[: number - 1]), self._around(messages[:number])
                if not prompt.startswith(rendered) or not head.startswith(prompt) or not tail.startswith(self._end):
                    return None
                answer = head[len(prompt) :] + _plain(message) + self._end
                pieces += [(prompt[len(rendered) :], False), (answer, True)]
                rendered = prompt + answer
        return pieces

    def _prompt(self, messages: Sequence[Message]) -> str:
        """What answering sends, with a thought that the template opens closed."""
        text = self._render(messages, begin=True)
        return text + self._closing if _THOUGHT.search(text) else text

    def _around(self, messages: Sequence[Message], following: Sequence[Message] = ()) -> tuple[str, str]:
        """What a template puts before the last answer, and behind it."""
        marked = Message(role="assistant", content=_ANSWER)
        text = self._render([*messages[:-1], marked, *following], begin=False)
        if text.count(_ANSWER) != 1:
            raise self._lost("the answer")
        head, _, tail = text.partition(_ANSWER)
        return head, tail

    def _thought_closing(self) -> str:
        """What closes a thought that the template's prompt opens: as a finished turn closes it, else the mark's own end."""
        prompt = self._render(_PROBE, begin=True)
        match = _THOUGHT.search(prompt)
        if match is None:
            return ""
        head, _ = self._around([*_PROBE, Message(role="assistant", content="")])
        bridge = head[len(prompt) :] if head.startswith(prompt) else ""
        if bridge.strip():
            return bridge
        if match["name"] is None:
            detail = "the language model's chat template opens a thought that no turn closes"
            raise CapabilityMissing(detail, hint="Give a model without thoughts, or --llm-url.", source=self._name)
        mark = match[0].strip()
        closing = mark.replace("START_", "END_") if "START_" in mark else f"{mark[0]}/{mark[1:]}"
        return f"\n{closing}\n\n" if match[0].endswith("\n") else closing

    def _end_of_turn(self) -> str:
        """What ends an answer: what stands behind it whether or not a user's turn follows; the tokenizer's end if that is nothing."""
        answered = [*_PROBE, Message(role="assistant", content="")]
        (_, last), (_, followed) = self._around(answered), self._around(answered, following=[Message(role="user", content=_QUESTION)])
        common = last[: next((k for k, (a, b) in enumerate(zip(last, followed, strict=False)) if a != b), len(last))]
        end = common if common in (last, followed) else _PART_OF_A_MARK.sub("", common)
        return end if end.strip() else end + (self._tokenizer.eos_token or "")

    def _whole_layout(self, evidence: EvidencePlacement) -> tuple[Layout, Mapping[str, Any]]:
        """The first that is rendered whole, with what the template wants beside the turns."""
        refusal = None
        no_system = NO_SYSTEM in self._tokenizer.chat_template
        for layout in (Layout(evidence=evidence, system="absent"),) if no_system else TEMPLATE_LAYOUTS[evidence]:
            for options in _OPTIONS:
                self.layout, self._options = layout, options
                try:
                    self._check_whole(_OPENING)
                    self._check_whole(_PROBE)
                except CapabilityMissing as error:
                    refusal = refusal or error
                else:
                    return layout, options
        assert refusal is not None, "there are layouts"
        raise refusal

    def _check_whole(self, messages: Sequence[Message]) -> None:
        """Check that all parts stand in what is rendered, in order."""
        text, at = self._render(messages, begin=True), 0
        opening = (_DATA, SCAN, _QUESTION) if self.layout.evidence == "user" else (SCAN, _QUESTION, _DATA)
        for part in (*(() if self.layout.system == "absent" else (_SYSTEM,)), *opening, *_LATER[: len(messages) - len(_OPENING)]):
            at = text.find(part, at)
            if at < 0 or (part == SCAN and text.count(part) != 1):
                raise self._lost("the place of a scan" if part == SCAN else part.removeprefix("probe of "))

    def _with_scans(self, text: str) -> list[int]:
        first, *others = text.split(SCAN)
        return [*self._ids(first), *(number for part in others for number in [IMAGE_TOKEN_INDEX] * self._rows + self._ids(part))]

    def _tokenised(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _render(self, messages: Sequence[Message], *, begin: bool) -> str:
        from jinja2 import TemplateError

        turns = to_turns([mark_scans(message) for message in messages], self.layout, call_arguments={})
        try:
            text = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=begin, **self._options)
        except (TemplateError, *_RAISED) as error:
            roles = ", ".join(dict.fromkeys(turn["role"] for turn in turns))
            detail = f"the language model's chat template does not take turns of {roles} ({' '.join(str(error).split())[:120]})"
            raise CapabilityMissing(detail, hint=_HINT, source=self._name) from error
        if text.count(SCAN) != sum(turn["content"].count(SCAN) for turn in turns):
            raise self._lost("the place of a scan")
        return str(text)

    def _lost(self, part: str) -> CapabilityMissing:
        return CapabilityMissing(f"the language model's chat template loses {part}, or its order", hint=_HINT, source=self._name)


def mark_scans(message: Message) -> Message:
    """Put `SCAN`, which no text can spell, where a scan is meant, and take the word for it out elsewhere."""
    text = _PRIVATE.sub("", message.content) if message.content != _ANSWER else _ANSWER
    text = text.replace(IMAGE, SCAN) if message.role == "user" else without_scans(text)
    return Message(role=message.role, content=text)


def _plain(message: Message) -> str:
    return mark_scans(message).content.strip()
