from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from thoracle.execution.prefetch import prefetch


def _loader_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_items_and_outputs_come_in_order(count: int) -> None:
    assert list(prefetch(str, range(count))) == [(number, str(number)) for number in range(count)]
    assert _loader_threads() == []


def test_the_next_is_loaded_meanwhile_and_no_further() -> None:
    started = [threading.Event() for _ in range(5)]

    def load(number: int) -> int:
        started[number].set()
        return number

    for number, _ in prefetch(load, range(5)):
        assert number == 4 or started[number + 1].wait(60)
        assert not any(event.is_set() for event in started[number + 2 :])


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_as_many_are_loaded_ahead_as_was_asked(ahead: int) -> None:
    """With 0 each is loaded by the caller itself, when it is due."""
    loaders: dict[int, int] = {}
    all_begun = threading.Barrier(max(1, ahead))

    def load(number: int) -> int:
        loaders[number] = threading.get_ident()
        if number < ahead:
            all_begun.wait(60)  # each in a thread of its own, or this breaks
        return -number

    for number, output in prefetch(load, range(8), ahead=ahead):
        assert output == -number
        assert max(loaders) <= number + ahead
    assert len(loaders) == 8
    assert (set(loaders.values()) == {threading.get_ident()}) == (ahead == 0)
    assert _loader_threads() == []


def test_an_error_is_raised_when_its_item_is_due() -> None:
    loaded = []

    def load(number: int) -> int:
        loaded.append(number)
        if number == 2:
            raise OSError("no such scan")
        return number

    received: list[int] = []
    with pytest.raises(OSError, match="no such scan"):
        received.extend(number for number, _ in prefetch(load, range(9)))
    assert loaded == [0, 1, 2]
    assert _loader_threads() == []


def test_closing_waits_for_the_load_that_runs_and_begins_no_other() -> None:
    loaded = []
    may_end = threading.Event()

    def load(number: int) -> int:
        if number == 1:
            assert may_end.wait(60)
        loaded.append(number)
        return number

    def items() -> Iterator[int]:
        yield from range(9)

    generator = prefetch(load, items())
    assert next(generator) == (0, 0)
    threading.Timer(0.05, may_end.set).start()
    generator.close()
    assert loaded == [0, 1]
    assert _loader_threads() == []
