"""An answer from evidence names its sources, and joins the conversation once it is whole."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from thoracle.ct.preprocess import PreprocessConfig
from thoracle.errors import EndpointFailed
from thoracle.inference.chat.cited_answer import cited_answer
from thoracle.inference.chat.conversation import Conversation, Turn
from thoracle.inference.chat.grounded import collect_evidence
from thoracle.inference.findings import Findings
from thoracle.inference.llm.decoding import SamplingOptions
from thoracle.models.chat.prompt import Message

EVIDENCE = collect_evidence(
    Findings(
        abnormalities=("Pleural effusion", "Emphysema"),
        probabilities=(0.91, 0.08),
        model_kind="ct-clip",
        model_sha256="0" * 64,
        trained=True,
        precision="float32",
        preprocess=PreprocessConfig(),
        provenance=None,
    )
)


def test_a_whole_answer_is_a_turn_and_names_what_it_cites() -> None:
    earlier = Turn(question="Hello?", task="short_answer", answer="Yes.")
    conversation, asked = Conversation(turns=[earlier]), []

    def generate(messages: list[Message], /, *, sampling: SamplingOptions) -> Iterator[str]:
        asked.append([message.content for message in messages])
        yield from ("There is an effusion", " [F1]. It is [F9] large.")

    pieces = list(
        cited_answer(generate, "Effusion?", evidence=EVIDENCE, conversation=conversation, task="long_answer", sampling=SamplingOptions())
    )
    assert pieces[-1].startswith("\n[F1] ")
    assert not any("[F2]" in piece for piece in pieces)
    assert [asked[0][number] for number in (1, 3, 4)] == ["Hello?", "Yes.", "Effusion?"]
    question, turn = conversation.turns
    assert (question, turn.question, turn.task) == (earlier, "Effusion?", "long_answer")
    assert turn.answer == "There is an effusion [F1]. It is [F9] large.", "what the model said, without marks, notice and sources"
    assert "large. [no source]\nResearch use only. Not a medical device.\n[F1] Pleural effusion" in "".join(pieces)


def test_an_answer_that_breaks_off_is_no_turn() -> None:
    conversation = Conversation()

    def generate(_: list[Message], /, *, sampling: SamplingOptions) -> Iterator[str]:
        yield "There is"
        raise EndpointFailed("went down", hint="Start it.")

    with pytest.raises(EndpointFailed):
        list(
            cited_answer(
                generate, "Effusion?", evidence=EVIDENCE, conversation=conversation, task="long_answer", sampling=SamplingOptions()
            )
        )
    assert conversation.turns == []
