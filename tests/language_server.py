"""A server that speaks as OpenAI's does, word by word or whole, and fails as real ones did; says what it is told to say."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class LanguageServer(ThreadingHTTPServer):
    """`say` gives status and content for a request's body; `asked` and `headers` are what came.

    Attributes:
        words: where there are, they come one after the other to who asks for a stream, in place of the content.
        thoughts: come before the words, as `reasoning_content`.
        finish: why an answer ends; "" sends no reason, and `[DONE]` alone.
        nulls: whether null deltas, a role and a chunk of token counts come too, as vLLM and llama.cpp send them.
        silent: seconds before the words; `stall` seconds before the last word.
        broken: answers are none.
        interrupts: an answer ends without a reason, and with `[DONE]`, once the next is asked for, as llama_cpp.server's does.
        cuts: the next so many answers end in their middle.
        raw: is sent as the body, without its length, where it is set.
        refusal: body of an answer whose status is not 200; `more` headers of it.
        whole: a server that does not stream.
        models: those that it lists; None where it lists none, and answers 404.
        loading: how often it says that it loads its model before it lists it.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.say: Callable[[dict[str, Any]], tuple[int, str]] = lambda _: (200, "")
        self.words: list[str] = []
        self.thoughts: list[str] = []
        self.finish, self.nulls = "", False
        self.silent, self.stall, self.broken = 0.0, 0.0, False
        self.interrupts, self.cuts, self.raw = False, 0, b""
        self.refusal, self.more = b"", {}
        self.whole = False
        self.models: list[str] | None = ["m"]
        self.loading = 0
        self.asked: list[dict[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []
        self.hung_up = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def text(self, number: int = -1) -> str:
        """All that was sent in one request's turns."""
        return "\n".join(turn["content"] for turn in self.asked[number]["messages"])


class _Handler(BaseHTTPRequestHandler):
    server: LanguageServer

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:  # the client hung up, as it may
            self.server.hung_up += 1

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = {"path": self.path, **body}
        self.server.asked.append(body)
        self.server.headers.append(dict(self.headers))
        status, said = self.server.say(body)
        self.send_response(status)
        if status == 302:
            self.send_header("Location", said or "http://127.0.0.1:1/elsewhere")
        for name, value in self.server.more.items():
            self.send_header(name, value)
        cut, self.server.cuts = self.server.cuts > 0, max(0, self.server.cuts - 1)
        if self.server.raw or status != 200:
            self.end_headers()
            self.wfile.write(self.server.raw or self.server.refusal)
            return
        words = self.server.words or [said]
        if body.get("stream") and not self.server.whole:
            self.end_headers()
            self._stream(words, cut=cut, interrupted=self.server.interrupts and self.server.asked[-1] is not body)
            return
        message = {"role": "assistant", "content": "".join(words)}
        content = json.dumps({"choices": [{"message": message, "finish_reason": self.server.finish or "stop"}]}).encode()
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if cut else content)

    def do_GET(self) -> None:
        assert self.path == "/v1/models", "a report was sent on"
        listed = self.server.models
        content = b"Not Found" if listed is None else json.dumps({"data": [{"id": name} for name in listed]}).encode()
        status = 404 if listed is None else 200
        if self.server.loading:
            self.server.loading -= 1
            status, content = 503, b'{"error": {"message": "Loading model", "code": 503}}'
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass

    def _stream(self, words: list[str], *, cut: bool, interrupted: bool) -> None:
        time.sleep(self.server.silent)
        more = {"finish_reason": None} if self.server.finish else {}
        if self.server.nulls:
            self._event({"choices": [{"delta": {"role": "assistant", "content": None}, **more}]})
        for thought in self.server.thoughts:
            self._event({"choices": [{"delta": {"reasoning_content": thought}}]})
        words = words[: len(words) // 2] if cut else words
        for number, word in enumerate(words, start=1):
            if number == len(words):
                time.sleep(self.server.stall)
            self._event("{]" if self.server.broken else {"choices": [{"delta": {"content": word}, **more}]})
        if cut:
            return
        if self.server.finish and not interrupted:
            self._event({"choices": [{"delta": None if self.server.nulls else {}, "finish_reason": self.server.finish}]})
        if self.server.nulls:
            self._event({"choices": [], "usage": {"total_tokens": 7}})
        self._event("[DONE]")

    def _event(self, content: str | dict[str, Any]) -> None:
        text = content if isinstance(content, str) else json.dumps(content)
        self.wfile.write(f"data: {text}\n\n".encode())


#: What real servers did in place of a whole answer, as settings of `LanguageServer`, and words that say so.
FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"cuts": 10**6}, "an answer that is not whole"),
    ({"finish": "abort"}, "an answer that is not whole"),
    ({"finish": "length"}, "is cut off: it reached the limit of"),
    ({"raw": b"\n"}, "an answer that is not whole"),
    # llama_cpp.server stops an answer for the next request
    ({"raw": b'data: {"choices": [{"delta": {"content": "A"}, "finish_reason": null}]}\n\ndata: [DONE]\n'}, "an answer that is not whole"),
    ({"raw": b'{"error": {"message": "out of slots"}}'}, "sends out of slots"),
    ({"raw": b"<html><title>Sign in</title>"}, "a web page in place of an answer: Sign in"),
    ({"say": lambda _: (400, ""), "refusal": b'{"error": "too long a context"}'}, "answers 400 Bad Request: too long a context"),
    ({"say": lambda _: (503, "")}, "answers 503"),
    ({"words": [""]}, "holds no words"),
    ({"say": lambda _: (200, "<think>Hm.</think>")}, "was only thought"),
    ({"thoughts": ["Hm."], "words": [""]}, "was only thought"),
    ({"silent": 1.0}, "does not answer"),
]
