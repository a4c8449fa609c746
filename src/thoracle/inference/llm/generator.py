"""Define what a language model promises: words for a conversation, as they come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from thoracle.inference.llm.decoding import SamplingOptions
from thoracle.models.chat.prompt import Message


class TextGenerator(Protocol):
    """Generate text: `Chat` without a scan, or a server's model."""

    def __call__(self, messages: list[Message], /, *, sampling: SamplingOptions) -> Iterator[str]:
        """Yield the model's answer to the last turn, in pieces."""
