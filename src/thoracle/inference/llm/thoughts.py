"""Tell a model's thoughts from its answer, where both come as one text."""

from __future__ import annotations

import re
from typing import Final

_NAMES: Final = ("think", "thinking", "thought", "reasoning", "seed:think")
_OPEN: Final = tuple(text for name in _NAMES for text in (f"<{name}>", f"[{name.upper()}]", f"◁{name}▷"))
_CLOSE: Final = tuple(text for name in _NAMES for text in (f"</{name}>", f"[/{name.upper()}]", f"◁/{name}▷"))
_MARK: Final = re.compile("|".join(map(re.escape, (*_OPEN, *_CLOSE))))
_CLOSING: Final = re.compile("|".join(map(re.escape, _CLOSE)))


class ThoughtFilter:
    """Remove thoughts from an answer that comes in pieces.

    Args:
        hold: keep all words back until the end of the answer, or of a thought that began in the prompt: nothing marks its beginning.

    Attributes:
        hold: as given; False where thoughts come apart from the answer.
        thought: whether a thought came.
        opened_before: whether one came whose beginning did not.
    """

    def __init__(self, *, hold: bool) -> None:
        self.hold, self.thought, self.opened_before = hold, False, False
        self._pending, self._thinking, self._begun = "", False, False

    def feed(self, text: str) -> str:
        """Return the words of the answer that are certain so far."""
        self._pending += text
        answer = ""
        while mark := (_CLOSING if self._thinking else _MARK).search(self._pending):
            before, self._pending = self._pending[: mark.start()], self._pending[mark.end() :]
            closing = mark[0] in _CLOSE
            if not self._thinking:
                if closing and self.hold:
                    self.opened_before, before = True, ""
                self.hold = False
                answer += before
            self.thought, self._thinking = True, not closing
        if self._thinking:
            self._pending = self._pending[len(self._pending) - _partial(self._pending) :]
        elif not self.hold:
            end = len(self._pending) - _partial(self._pending)
            answer, self._pending = answer + self._pending[:end], self._pending[end:]
        return self._stripped(answer)

    def finish(self) -> str:
        """Return the words that were kept back; none of a thought that did not end."""
        rest = "" if self._thinking else self._pending
        self._pending = ""
        return self._stripped(rest)

    def _stripped(self, answer: str) -> str:
        """Drop the blanks between a thought and the answer."""
        if not self._begun and self.thought:
            answer = answer.lstrip()
        self._begun = self._begun or bool(answer)
        return answer


def _partial(text: str) -> int:
    """Count the last characters that may be the beginning of a mark."""
    tail = text[-max(map(len, _CLOSE)) :]
    return next((size for size in range(len(tail), 0, -1) if any(mark.startswith(tail[-size:]) for mark in (*_OPEN, *_CLOSE))), 0)
