"""Count requests for Prometheus, and note for an audit who did what to which scan, without names."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from thoracle.files.append_log import truncate_partial_line
from thoracle.files.atomic import open_owned

#: Upper ends of seconds, as Prometheus counts them.
_SECONDS: Final = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, float("inf"))
#: What is asked for so often, and says so little, that it is not noted.
_UNNOTED: Final = ("/static/", "/healthz", "/readyz", "/metrics")


class AuditLog:
    """Append lines of JSON to a file that its owner alone can read.

    Raises:
        OSError: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        truncate_partial_line(path)
        self._file = open_owned(path, "ab", private=True)

    def note(self, *, who: str, action: str, **facts: Any) -> None:
        """Append one line."""
        moment = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._file.write((json.dumps({"time": moment, "who": who, "action": action, **facts}) + "\n").encode())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class RequestCounts:
    """Count requests by route and status, and their seconds."""

    def __init__(self) -> None:
        self.requests: dict[tuple[str, str, int], int] = defaultdict(int)
        self.seconds: dict[str, list[int]] = defaultdict(lambda: [0] * len(_SECONDS))
        self.sums: dict[str, float] = defaultdict(float)

    def add(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        self.requests[method, route, status] += 1
        self.sums[route] += seconds
        for number, most in enumerate(_SECONDS):
            self.seconds[route][number] += seconds <= most

    def lines(self) -> Iterable[str]:
        """Yield lines of Prometheus's text format."""
        yield "# TYPE thoracle_requests_total counter"
        for (method, route, status), count in self.requests.items():
            yield f'thoracle_requests_total{{method="{method}",route="{route}",status="{status}"}} {count}'
        yield "# TYPE thoracle_request_seconds histogram"
        for route, counts in self.seconds.items():
            for most, count in zip(_SECONDS, counts, strict=True):
                bound = "+Inf" if most == float("inf") else f"{most:g}"
                yield f'thoracle_request_seconds_bucket{{route="{route}",le="{bound}"}} {count}'
            yield f'thoracle_request_seconds_sum{{route="{route}"}} {self.sums[route]:.6f}'
            yield f'thoracle_request_seconds_count{{route="{route}"}} {counts[-1]}'


class Observer:
    """Count and note each request when its answer has begun; routes are named by their templates, scans by their random ids."""

    def __init__(self, app: ASGIApp, *, counts: RequestCounts, audit: AuditLog) -> None:
        self._app, self._counts, self._audit = app, counts, audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Follow one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        since = time.perf_counter()

        async def follow(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._take(scope, message["status"], time.perf_counter() - since)
            await send(message)

        await self._app(scope, receive, follow)

    def _take(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "")
        method = scope["method"] if scope["method"].isalpha() and len(scope["method"]) <= 8 else "other"
        self._counts.add(method, route or "none", status, seconds)
        if not scope["path"].startswith(_UNNOTED):
            # What is under no id may be anything, a name too.
            ids = {} if status == 404 else _ids(scope.get("path_params", {}))
            self._audit.note(who=scope.get("who", ""), action=f"{method} {route or 'none'}", status=status, **ids)


def _ids(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return the random ids among the parameters of a route."""
    return {name: str(parameters[name])[:32] for name in ("scan", "job", "hit") if name in parameters}


def gauge(name: str, values: Mapping[str, float], label: str = "") -> Iterable[str]:
    """Yield lines of a gauge; values by label, or one by ""."""
    yield f"# TYPE {name} gauge"
    for key, value in values.items():
        yield f'{name}{{{label}="{key}"}} {value:g}' if label else f"{name} {value:g}"
