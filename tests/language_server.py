"""A server that speaks as OpenAI's does, whole or word by word, for what asks one; says what it is told to say."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class LanguageServer(ThreadingHTTPServer):
    """`say` gives status and content for a request's body; `asked` and `headers` are what came.

    `words`, where there are, come one after the other to who asks for a stream; `silent` seconds go by before them, and `broken` answers
    are none. The next `cuts` answers end in their middle; `raw`, where it is set, is sent as the body, without its length.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.say: Callable[[dict[str, Any]], tuple[int, str]] = lambda _: (200, "")
        self.words: list[str] = []
        self.silent, self.broken = 0.0, False
        self.cuts, self.raw = 0, b""
        self.asked: list[dict[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: LanguageServer

    def handle(self) -> None:
        with suppress(ConnectionError):  # the client hung up, as it may
            super().handle()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append({"path": self.path, **body})
        self.server.headers.append(dict(self.headers))
        status, said = self.server.say(body)
        self.send_response(status)
        if status == 302:
            self.send_header("Location", said or "http://127.0.0.1:1/elsewhere")
        cut, self.server.cuts = self.server.cuts > 0, max(0, self.server.cuts - 1)
        if self.server.raw:
            self.end_headers()
            self.wfile.write(self.server.raw)
            return
        if body.get("stream"):
            self.end_headers()
            time.sleep(self.server.silent)
            words = self.server.words or [said]
            for word in words[: len(words) // 2] if cut else words:
                self._event("{]" if self.server.broken else json.dumps({"choices": [{"delta": {"content": word}}]}))
            if not cut:
                self._event("[DONE]")
            return
        content = json.dumps({"choices": [{"message": {"role": "assistant", "content": said}}]}).encode()
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if cut else content)

    def do_GET(self) -> None:
        raise AssertionError("a report was sent on")

    def log_message(self, *_: object) -> None:
        pass

    def _event(self, data: str) -> None:
        self.wfile.write(f"data: {data}\n\n".encode())
