"""Ask many questions of a server, a few at a time; each answer is on the disk as it comes, and none is asked for twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final, TypeVar

from thoracle.errors import AnswerFailed, EndpointFailed
from thoracle.files.append_log import append_lines, recover_lines
from thoracle.inference.batch.result_table import lock_table

AT_ONCE: Final = 4
Question = TypeVar("Question")


def ask_all(
    ask: Callable[[Question], Any],
    questions: Mapping[str, Question],
    *,
    journal: Path | None,
    check: Callable[[], None] = lambda: None,
    close: Callable[[], None] = lambda: None,
) -> Iterator[tuple[str, Any]]:
    """Yield each key with its answer, those that the journal has first, others as they come; or with the error that one of them ended in.

    Args:
        ask: answers one question with plain JSON types; called from several threads.
        questions: by a key that names all that an answer depends on, but no patient.
        journal: a file of lines, one an answer, made where it is not there; None keeps nothing.
        check: called after a question failed; raises where the server is gone, so that the others are not asked.
        close: ends the answers under way when the run is interrupted.

    Raises:
        OutputConflict: another run writes the journal.
        EndpointFailed: the server is gone; what came is in the journal.
    """
    if journal is not None:
        journal.parent.mkdir(parents=True, exist_ok=True)
    with lock_table(journal) if journal is not None else nullcontext():
        cached = _read(journal)
        yield from ((key, cached[key]) for key in questions if key in cached)
        remaining = iter([(key, question) for key, question in questions.items() if key not in cached])
        running: dict[Future[Any], str] = {}
        pool, gone = ThreadPoolExecutor(AT_ONCE), None
        try:
            while True:
                while gone is None and len(running) < AT_ONCE and (pair := next(remaining, None)) is not None:
                    running[pool.submit(ask, pair[1])] = pair[0]
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    key = running.pop(future)
                    try:
                        answer = _result(future, check)
                    except EndpointFailed as error:  # the answers under way are waited for: they are paid
                        gone = gone or error
                        continue
                    if journal is not None and not isinstance(answer, AnswerFailed):
                        append_lines(journal, [json.dumps({"key": key, "answer": answer})], private=True)
                    yield key, answer
        except BaseException:
            close()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
        if gone is not None:
            raise gone


def _result(future: Future[Any], check: Callable[[], None]) -> Any:
    """Return an answer, or the error of this one alone."""
    try:
        return future.result()
    except AnswerFailed as error:
        check()
        return error


def _read(path: Path | None) -> dict[str, Any]:
    """Read what earlier runs wrote, by key."""
    if path is None:
        return {}
    return {entry["key"]: entry["answer"] for entry in map(json.loads, recover_lines(path))}
