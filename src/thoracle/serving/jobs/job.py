"""Describe one job, and let several listeners follow it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from thoracle.client.forms.service import ErrorBody, JobState

#: Seconds after which a stream that has nothing to say says that it lives, and a status its new seconds.
_HEARTBEAT: Final = 5.0
_ENDED: Final = ("done", "failed", "cancelled")


@dataclass(kw_only=True, eq=False)
class Job:
    """Hold a job.

    Attributes:
        id: random.
        kind: which function of its lane it is.
        lane: where it waits and runs.
        scan: that it is about; "" for none.
        arguments: of the function.
        conclude: called once, in the event loop, when it has ended.
        state, stage: where it stands, and what it is doing.
        submitted, started, ended: `time.monotonic`.
        error: why it failed.
        result: of the function.
        cancel_at: when it was asked to end; None where it was not.
        fault: why its process is being killed.
        memory_before: bytes of its process when it began.
        finished: set when it has ended.
    """

    id: str
    kind: str
    lane: str
    scan: str
    arguments: Mapping[str, Any]
    conclude: Callable[[Job], None] = lambda job: None
    state: JobState = "queued"
    stage: str = ""
    submitted: float = field(default_factory=time.monotonic)
    started: float | None = None
    ended: float | None = None
    error: ErrorBody | None = None
    result: Any = None
    cancel_at: float | None = None
    fault: ErrorBody | None = None
    memory_before: int = 0
    finished: asyncio.Event = field(default_factory=asyncio.Event)
    _listeners: set[asyncio.Queue[Mapping[str, Any] | None]] = field(default_factory=set)

    @property
    def has_ended(self) -> bool:
        """Tell whether it has ended, however it did."""
        return self.state in _ENDED

    def seconds(self) -> float:
        """Return the seconds since it was asked for, or until it ended."""
        return (time.monotonic() if self.ended is None else self.ended) - self.submitted

    def publish(self, event: Mapping[str, Any] | None = None) -> None:
        """Tell listeners of an event of the job, or with None that its state has changed."""
        for queue in self._listeners:
            queue.put_nowait(event)

    async def follow(self) -> AsyncIterator[Mapping[str, Any] | None]:
        """Yield events as they come, and None at first, whenever the state changes, every few seconds, and last when it has ended."""
        queue: asyncio.Queue[Mapping[str, Any] | None] = asyncio.Queue()
        self._listeners.add(queue)
        try:
            yield None
            while not (self.has_ended and queue.empty()):
                event: Mapping[str, Any] | None = None
                with suppress(TimeoutError):
                    event = await asyncio.wait_for(queue.get(), _HEARTBEAT)
                yield event
        finally:
            self._listeners.discard(queue)
