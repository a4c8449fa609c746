"""CT-CHAT's published prompts (Hamamci et al.; github.com/ibrahimethemhamamci/CT-CHAT, commit fec81f5): of its answers, and of stage 1.

A published folder was trained on Llama 3's turns with a system prompt that wants `<provided>` in a question about a scan, and on words
that were added behind the base's, one of them misspelt. These facts are kept; the system prompt says in words of ours what the published
one says.
Stage 1 was trained on LLaVA's plain conversation: a scan, then an answer and a line end.

Ids begin as LLaVA's do, with those that the tokenizer itself puts before a text: of Llama 3 that is a second begin of text.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from torch import Tensor

from thoracle.errors import CapabilityMissing
from thoracle.models.chat.chat_template import SCAN, Encoded, mark_scans
from thoracle.models.chat.layout import BEGIN_DATA, EvidencePlacement, Layout, to_turns
from thoracle.models.chat.prompt import IMAGE, IMAGE_TOKEN_INDEX, SYSTEM, Message

#: Words that published training adds, in this order.
ADDED_WORDS: Final = ("<pad>", "<multiple_choice>", "<long_answer>", "<short_answe>", "<report_generation>")
#: In the name of the projector's tensors, which lie beside a published adapter.
_PROJECTOR: Final = "mm_projector.attn_pool."
_START, _STOP, _TURN_END = "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"
_PROVIDED: Final = "<provided>"
#: The point before the first word is published.
_SYSTEM: Final = (
    ". You are CT-CHAT, an assistant for chest CT and the medicine that belongs to it, and speak of nothing else. A CT volume is given"
    f" where a question holds {_PROVIDED}: answer it then, be it about abnormalities, anatomy, a comparison, a description or a report."
    f" Once any question of the conversation held {_PROVIDED}, never ask for the volume again. Where none did and the question is about a"
    " particular scan, whatever it asks, answer “Please provide the CT volume.” and nothing else, even if it ends with <multiple_choice>,"
    " <report_generation>, <long_answer> or <short_answe>. What is general medical knowledge is answered without a volume. Greet who greets"
    " you. Be clear, short and accurate."
)
_LAYOUT: Final = Layout(evidence="user", system="user")
_OUR_SYSTEM: Final = Message(role="system", content=SYSTEM)


def add_published_words(tokenizer: Any, tensors: Mapping[str, Tensor], *, embeddings: Collection[str]) -> bool:
    """Add the words of a published CT-CHAT folder to its base's tokenizer, and tell whether the folder is one.

    It is one by content: CT-CHAT's projector lies beside the adapter, the base has Llama 3's turns, and as many words' embeddings were
    trained as there are with those added. Another folder leaves the tokenizer as it is.

    Args:
        tokenizer: of the base, or of the folder where it has one.
        tensors: all that lies in the folder, by name.
        embeddings: ends of the names of words' embeddings.
    """
    vocabulary = tokenizer.get_vocab()
    missing = [word for word in ADDED_WORDS if word not in vocabulary]
    rows = {len(tensor) for name, tensor in tensors.items() if name.endswith(tuple(embeddings))}
    is_published = (
        any(_PROJECTOR in name for name in tensors)
        and vocabulary.keys() >= {_START, _STOP, _TURN_END}
        and rows == {len(tokenizer) + len(missing)}
    )
    if is_published:
        tokenizer.add_tokens(missing, special_tokens=True)
        tokenizer.pad_token = ADDED_WORDS[0]
    return is_published


class PublishedPrompt:
    """Write conversations as published CT-CHAT models were trained and are served.

    Our system prompt is left out in favour of the published one; another one, of an answer from evidence, begins the user's first turn.

    Args:
        tokenizer: with `ADDED_WORDS`.
        rows: that stand for a scan.
        evidence: where data stand: in the user's turn alone.

    Raises:
        CapabilityMissing: data in a tool's turn, of which these models know nothing.
    """

    def __init__(self, tokenizer: Any, *, rows: int, evidence: EvidencePlacement = "user") -> None:
        if evidence == "tool":
            detail = "published CT-CHAT models know no tool's turn"
            raise CapabilityMissing(detail, hint="Leave out --evidence tool.", source=tokenizer.name_or_path or None)
        self._tokenizer, self._rows = tokenizer, rows

    def encode(self, messages: Sequence[Message]) -> Encoded:
        """Encode a conversation that waits for an answer, which begins behind the last id."""
        marked = [mark_scans(message) for message in messages if message != _OUR_SYSTEM]
        turns = to_turns(marked, _LAYOUT)
        text = "".join(
            (
                f"<|begin_of_text|>{_turn('system', _SYSTEM)}",
                *(_turn(turn["role"], _question(turn["content"]) if turn["role"] == "user" else turn["content"]) for turn in turns),
                f"{_START}assistant{_STOP}\n\n",
            )
        )
        first, *others = text.split(SCAN)
        ids = _begin(self._tokenizer, first)
        for part in others:
            ids += [IMAGE_TOKEN_INDEX] * self._rows + _ids(self._tokenizer, part)
        return Encoded(ids=tuple(ids), loss_mask=(False,) * len(ids))


class PlainPrompt:
    """Write LLaVA's plain conversations: the scans of a question and its answer, without the question and without a system prompt."""

    def __init__(self, tokenizer: Any, *, rows: int) -> None:
        self._tokenizer, self._rows = tokenizer, rows

    def encode_answers(self, messages: Sequence[Message]) -> tuple[Encoded, ...]:
        """Encode each answer behind the conversation's scans; none of a conversation without a scan."""
        scans = sum(message.content.count(IMAGE) for message in messages if message.role == "user")
        if not scans:
            return ()
        begin = _begin(self._tokenizer, "") + [IMAGE_TOKEN_INDEX] * self._rows * scans
        answers = (_ids(self._tokenizer, f"{message.content}\n") for message in messages if message.role == "assistant")
        return tuple(Encoded(ids=(*begin, *ids), loss_mask=(False,) * len(begin) + (True,) * len(ids)) for ids in answers)


def _turn(role: str, content: str) -> str:
    return f"{_START}{role}{_STOP}\n\n{content}{_TURN_END}"


def _question(content: str) -> str:
    """With the mark of a given scan, or of data about one, and the published spelling."""
    content = content.replace("<short_answer>", "<short_answe>")
    before, scan, text = content.rpartition(f"{SCAN}\n")
    if scan:
        return f"{before}{scan} {_PROVIDED}{text}"
    return f"{_PROVIDED}{content}" if BEGIN_DATA in content else content


def _begin(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text)["input_ids"]
    return ids


def _ids(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids
