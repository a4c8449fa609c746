from __future__ import annotations

import time

from thoracle.cli.findings_table import Stopwatch


def test_a_stopwatch_keeps_stages_in_order_even_where_one_fails() -> None:
    watch = Stopwatch()
    with watch("read"):
        time.sleep(0.001)
    try:
        with watch("detect"):
            raise ValueError
    except ValueError:
        pass
    assert list(watch.seconds) == ["read", "detect"]
    assert watch.seconds["read"] > 0
    assert str(watch).startswith("read 0.0")
