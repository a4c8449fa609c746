from __future__ import annotations

import pytest

from thoracle.execution.executor import ItemOutcome, attempt


def test_an_outcome_gives_its_output_or_raises_its_error() -> None:
    assert ItemOutcome(index=0, item="a", output=3).output_or_raise() == 3
    with pytest.raises(ValueError, match="no such slice"):
        ItemOutcome(index=0, item="a", error=ValueError("no such slice")).output_or_raise()


def test_an_error_is_a_value_but_an_interrupt_is_not() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    output, error = attempt(lambda: {}["absent"])
    assert output is None
    assert isinstance(error, KeyError)
    assert attempt(lambda: 7) == (7, None)
    with pytest.raises(KeyboardInterrupt):
        attempt(interrupt)
