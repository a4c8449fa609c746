"""Answer a conversation's next question from evidence, with the sources that the answer cites."""

from __future__ import annotations

from collections.abc import Generator, Iterator

from thoracle.inference.chat.conversation import Conversation, Turn
from thoracle.inference.chat.grounded import CitableEvidence, answer, cited_sources
from thoracle.inference.llm.decoding import SamplingOptions
from thoracle.inference.llm.generator import TextGenerator
from thoracle.models.chat.prompt import AnswerType, Message


def cited_answer(
    generate: TextGenerator,
    question: str,
    *,
    evidence: CitableEvidence,
    conversation: Conversation,
    task: AnswerType,
    sampling: SamplingOptions,
) -> Iterator[str]:
    """Yield `cited_text`, then a line for each source that it cites. Arguments and errors are those of `cited_text`."""
    sources = yield from cited_text(generate, question, evidence=evidence, conversation=conversation, task=task, sampling=sampling)
    for name, source in sources.items():
        yield f"\n[{name}] {source}"


def cited_text(
    generate: TextGenerator,
    question: str,
    *,
    evidence: CitableEvidence,
    conversation: Conversation,
    task: AnswerType,
    sampling: SamplingOptions,
) -> Generator[str, None, dict[str, str]]:
    """Yield the answer in pieces, and return the sources that it cites; a whole answer becomes a turn of the conversation.

    The turn holds the model's own words: marks and notice are added to what is shown.

    Args:
        generate: the language model.
        question: the next one.
        evidence: what the answer may cite.
        conversation: the turns before.
        task: the kind of answer, which the turn keeps.
        sampling: how the answer is generated.

    Raises:
        ThoracleError: as `generate`; the conversation is left as it was.
    """
    earlier = [(turn.question, turn.answer) for turn in conversation.turns]
    words, shown = "", ""

    def generate_recorded(messages: list[Message], /, *, sampling: SamplingOptions) -> Iterator[str]:
        nonlocal words
        for piece in generate(messages, sampling=sampling):
            words += piece
            yield piece

    for piece in answer(generate_recorded, question, evidence, before=earlier, sampling=sampling):
        shown += piece
        yield piece
    sources = cited_sources(shown, evidence)
    conversation.turns.append(Turn(question=question, task=task, answer=words.strip()))
    return sources
