"""The bar of every command: what it counts, and at which rate."""

from __future__ import annotations

import io

from rich.console import Console

from thoracle.cli.progress import ProgressBar, follow, track


def console() -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, width=120), file


def test_a_bar_counts_items_and_takes_a_total_that_comes_late() -> None:
    to, file = console()
    with ProgressBar("scans", console=to, completed=2000) as bar:
        bar.advance()
        bar.update(2500, total=5000)
    text = file.getvalue()
    assert "scans" in text
    assert "2,500/5,000" in text
    assert "/s" in text


def test_the_rate_is_of_this_run_and_the_count_may_be_another() -> None:
    to, file = console()
    with ProgressBar("reports", console=to, total=1.0, completed=1.0, rate="min") as bar:
        bar.update(0.5, count="1,234", processed=0)
    assert "1,234" in file.getvalue()
    assert " 0/min" in file.getvalue()


def test_without_a_rate_there_is_none_and_the_description_changes() -> None:
    to, file = console()
    with ProgressBar("begin", console=to, total=4, rate="") as bar:
        bar.update(3, description="loss 0.5")
    assert "loss 0.5" in file.getvalue()
    assert "begin" not in file.getvalue()
    assert "/s" not in file.getvalue()


def test_every_item_comes_in_turn_and_is_counted() -> None:
    to, file = console()
    assert list(track("abc", description="letters", total=3, console=to, rate="min")) == ["a", "b", "c"]
    assert "3/3" in file.getvalue()
    names = iter("abc")
    follow(names, total=3, console=to)
    assert list(names) == []
