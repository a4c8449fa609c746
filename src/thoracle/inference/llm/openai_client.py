"""Ask a language model behind an OpenAI-compatible server, word by word or for a whole answer.

Every answer streams. One that breaks off is asked for again, unless words of it have been shown.
"""

from __future__ import annotations

import http.client
import json
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from fnmatch import fnmatchcase
from typing import Any, Final, TypeVar

from thoracle.errors import AnswerFailed, AnswerIncomplete, EndpointFailed
from thoracle.inference.llm.answer_stream import AnswerEvent, AnswerInterrupted, ServerMessage, read_events
from thoracle.inference.llm.connection import BUSY, HINT, REQUEST, ServerBusy, ServerConnection, silence
from thoracle.inference.llm.decoding import SamplingOptions
from thoracle.inference.llm.thoughts import ThoughtFilter
from thoracle.models.chat.layout import SERVER_LAYOUTS, EvidencePlacement, Layout, to_turns
from thoracle.models.chat.prompt import Message
from thoracle.text_safety import terminal_safe

#: Tokens that a model has for its thoughts, beside those of the answer.
THOUGHT_TOKENS: Final = 4096
#: Seconds for the connection, and between words.
TIMEOUT: Final = 120.0
_MOST_BYTES: Final = 1 << 24
_ATTEMPTS: Final = 3
_PATH: Final = "/chat/completions"
#: llama_cpp.server answers 500 where a request is not of its form.
_BROKEN: Final = 500
_PAUSE: Final = 1.0  # seconds before the second attempt, doubled before the third
_CHECK_SECONDS: Final = 10.0
_MALFORMED: Final = (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError)
#: What a server may not take, and an answer can do without.
_DISPENSABLE: Final = ("temperature", "seed", "response_format")
_UNSUPPORTED: Final = re.compile(
    r"unsupported|not supported|does not support|unrecognized|unknown|unexpected|extra|not permitted|input should be", re.I
)


Part = TypeVar("Part")


class OpenAIClient:
    """Hold the address and the model of one server. A server that is busy, or breaks off before a word is shown, is asked three times.

    Args:
        address: base of the server, for example http://localhost:8000/v1.
        model: name of one of its models; "" for the only one, which `check` finds.
        timeout: seconds for the connection, and without a word, after which the server counts as silent.
        evidence: where data stand: in the user's turn, or in a tool's.
        notify: takes a sentence about what the server does not do.

    Raises:
        InputError: no address, a key that is no HTTP header, or no time at all.
    """

    def __init__(
        self,
        address: str,
        *,
        model: str = "",
        timeout: float = TIMEOUT,
        evidence: EvidencePlacement = "user",
        notify: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.connection = ServerConnection(address, timeout=timeout)
        self.url, self.model, self._notify = self.connection.base + _PATH, model, notify
        self._layout = SERVER_LAYOUTS[evidence]
        self._limit_name, self._refused_settings, self._adapting = "max_tokens", frozenset[str](), threading.Lock()
        self._one_at_a_time, self._turn = False, threading.Lock()
        self._hold, self._thought_tokens = True, 0

    def check(self) -> None:
        """Ask the server for its models, and take the only one where none is named.

        Raises:
            EndpointFailed: the server is not there, refuses, or has no such model.
        """
        try:
            names = next(self._attempt(lambda: iter([self._model_names()])))
        except (OSError, http.client.HTTPException) as error:
            raise silence(error, source=self.url) from error
        if names is None:
            if not self.model:
                raise EndpointFailed("does not list its models", hint="Name one with --llm-model.", source=self.url)
            probe = _body([Message(role="user", content="Hello")], self._layout, SamplingOptions(max_tokens=1), 0, None)
            next(self._attempt(lambda: (event.text for event in self._events(probe))), None)
            return
        listed = ", ".join(terminal_safe(name) for name in names[:10]) + (", …" if len(names) > 10 else "")
        if not self.model:
            if len(names) != 1:
                hint = "Name one with --llm-model."
                raise EndpointFailed(f"has {len(names)} models ({listed or 'none'})", hint=hint, source=self.url)
            (self.model,) = names
        elif not any(name in (self.model, f"{self.model}:latest") or fnmatchcase(self.model, name) for name in names):
            raise EndpointFailed(f"has no model {self.model!r:.80}; it has {listed or 'none'}", hint="Give one of them.", source=self.url)

    def generate(self, messages: Sequence[Message], /, *, sampling: SamplingOptions) -> Iterator[str]:
        """Yield the model's answer in pieces, as they come, without its thoughts.

        The first answer comes whole: until its end nothing says whether it began with a thought.

        Raises:
            EndpointFailed: the server is not there, refuses, or sends what is no answer.
            AnswerFailed: it refuses this request, breaks off or falls silent.
            AnswerIncomplete: the answer ends at its limit of tokens, was only thought, or holds no words.
        """
        return self._attempt(lambda: self._stream(messages, sampling, None))

    def generate_whole(
        self, messages: Sequence[Message], /, *, sampling: SamplingOptions, json_schema: Mapping[str, Any] | None = None
    ) -> Iterator[str]:
        """Yield the model's answer as one piece, once it is whole.

        Args:
            messages: turns of the conversation.
            sampling: how it is generated.
            json_schema: of the answer, for servers that can hold a model to one.

        Raises:
            EndpointFailed: as `generate`.
        """

        def answer() -> Iterator[str]:
            with self._turn if self._one_at_a_time else nullcontext():
                text = "".join(self._stream(messages, sampling, json_schema))
            yield text

        return self._attempt(answer)

    def close(self) -> None:
        """Stop all answers under way; none is asked for again."""
        self.connection.close()

    def _attempt(self, answer: Callable[[], Iterator[Part]]) -> Iterator[Part]:
        """Ask again while the server is busy, absent or breaks off, and nothing was shown."""
        shown = False
        for pause in (*(_PAUSE * 2**attempt for attempt in range(_ATTEMPTS - 1)), None):
            try:
                for piece in answer():
                    shown = True
                    yield piece
                return
            except ServerBusy as passing:
                if pause is None or shown or self.connection.closed or passing.seconds > self.connection.timeout:
                    raise passing.error from passing
                seconds = max(pause, passing.seconds)
            time.sleep(seconds)

    def _stream(self, messages: Sequence[Message], sampling: SamplingOptions, schema: Mapping[str, Any] | None) -> Iterator[str]:
        """Yield the words of one answer; a model that thinks is asked again, with room for its thoughts."""
        while True:
            room, words = self._thought_tokens, ThoughtFilter(hold=self._hold)
            count, finish = 0, ""
            for event in self._events(_body(messages, self._layout, sampling, room, schema)):
                if event.thought:
                    words.thought, words.hold = True, False
                finish = event.finish or finish
                if room and count >= sampling.max_tokens and event.text:
                    finish = "length"
                    break
                if piece := words.feed(event.text):
                    count += 1
                    yield piece
            cut = finish == "length"
            if cut and not room and not count and words.thought:
                self._thought_tokens = THOUGHT_TOKENS
                continue
            break
        if not cut and not words.opened_before:
            self._hold = False
        if words.thought:
            self._thought_tokens = THOUGHT_TOKENS
        if piece := words.finish():
            count += 1
            yield piece
        if cut:
            what = "was only thought" if words.thought and not count else "is cut off"
            detail = f"an answer {what}: it reached the limit of {sampling.max_tokens + room:,} tokens"
            raise AnswerIncomplete(detail, hint="Give a larger --max-tokens.", source=self.url)
        if not count:
            detail = "an answer was only thought" if words.thought else "an answer holds no words"
            raise AnswerIncomplete(detail, hint="Ask again, or ask another model.", source=self.url)

    def _events(self, body: Mapping[str, Any]) -> Iterator[AnswerEvent]:
        """Yield the parts of one answer."""
        try:
            with self._open(body) as response:
                yield from read_events(response, timeout=self.connection.timeout)
        except ServerMessage as error:
            raise AnswerFailed(self.connection.without_key(f"sends {error}"), hint=HINT, source=self.url) from error
        except OverflowError as error:
            hint = "Check that it is a language model's server."
            raise EndpointFailed(f"sends {error}", hint=hint, source=self.url) from error
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, AnswerInterrupted):
                self._ask_one_at_a_time()
            raise ServerBusy(silence(error, source=self.url)) from error
        except _MALFORMED as error:
            raise EndpointFailed("sends what is no answer of such a server", hint=HINT, source=self.url) from error

    def _open(self, body: Mapping[str, Any]) -> Any:
        """Send a request, once more without what the server does not take."""
        while True:
            if self.connection.closed:
                raise EndpointFailed("is not asked any more", hint="The run was interrupted; what is done is kept.", source=self.url)
            allowed = {name: value for name, value in body.items() if name not in self._refused_settings}
            sent = {self._limit_name if name == "max_tokens" else name: value for name, value in allowed.items()}
            content = json.dumps({"model": self.model, **sent}).encode()
            try:
                return self.connection.open(_PATH, content)
            except urllib.error.HTTPError as error:
                reason = self.connection.read_reason(error)
                if error.code not in {*REQUEST, _BROKEN} or not self._adapt(reason, sent):
                    raise self.connection.refusal(error, reason, source=self.url) from error

    def _adapt(self, reason: str, sent: Mapping[str, Any]) -> bool:
        """Note what a server does not take, if its reason names it; tell whether the request can be sent without."""
        if "max_completion_tokens" in reason and "max_tokens" in sent:
            self._limit_name = "max_completion_tokens"
            return True
        names = [name for name in _DISPENSABLE if name in reason and name in sent]
        if not names or not _UNSUPPORTED.search(reason):
            return False
        with self._adapting:  # other requests under way are refused for the same
            if names[0] not in self._refused_settings:
                self._refused_settings |= {names[0]}
                self._notify(f"The server takes no {names[0]}, and is asked without it: {reason}")
        return True

    def _ask_one_at_a_time(self) -> None:
        with self._adapting:
            if not self._one_at_a_time:
                self._one_at_a_time = True
                self._notify("The server stops an answer when the next is asked for: from here on one is asked for at a time.")

    def _model_names(self) -> list[str] | None:
        """Ask for the names of the server's models; None where it does not list them."""
        try:
            with self.connection.open("/models", timeout=min(self.connection.timeout, _CHECK_SECONDS)) as response:
                content = response.read(_MOST_BYTES)
        except urllib.error.HTTPError as error:
            if error.code in {401, 403} or error.code in BUSY:
                reason = self.connection.read_reason(error)
                raise self.connection.refusal(error, reason, source=self.url) from error
            error.close()
            return None
        try:
            return [str(entry["id"]) for entry in json.loads(content)["data"]]
        except _MALFORMED:
            return None


def _body(
    messages: Sequence[Message], layout: Layout, sampling: SamplingOptions, room: int, schema: Mapping[str, Any] | None
) -> dict[str, Any]:
    form = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}
    return {
        "messages": to_turns(messages, layout),
        "stream": True,
        "max_tokens": sampling.max_tokens + room,
        "temperature": sampling.temperature,
        "seed": sampling.seed,
        **({"stop": list(sampling.stop)} if sampling.stop else {}),
        **({} if schema is None else {"response_format": form}),
    }
