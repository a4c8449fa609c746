from __future__ import annotations

import re

from thoracle.cohort.preparation.charts import bar_chart, by_frequency, histogram


def test_bars_are_as_long_as_their_share_of_the_largest() -> None:
    chart = bar_chart("Sexes", [("F", 40), ("M", 10), ("O", 0)])
    assert re.findall(r"width:([\d.]+)%", chart) == ["100.0", "25.0"]
    assert re.findall(r"<tr><td>(\w+)<", chart) == ["F", "M", "O"]
    assert "Nothing is known" in bar_chart("Ages", [])


def test_labels_are_escaped_and_what_is_not_drawn_is_counted() -> None:
    chart = bar_chart("<b>", [("<i>", 2)] + [(str(n), 1) for n in range(34)])
    assert "<b>" not in chart
    assert "&lt;i&gt;" in chart
    assert "And 5 more with 5 together." in chart


def test_the_commonest_comes_first_and_the_unknown_last() -> None:
    assert by_frequency(["", "B", "A", "B", "", ""]) == [("B", 2), ("A", 1), ("unknown", 3)]
    assert by_frequency([]) == []


def test_a_histogram_shows_what_is_empty_between_and_where_a_number_lies_on_an_edge() -> None:
    assert histogram([19, 20, 45.5, None], step=10) == [("10 to 20", 1), ("20 to 30", 1), ("30 to 40", 0), ("40 to 50", 1), ("unknown", 1)]
    assert histogram([0.7, 0.69, 0.8], step=0.1) == [("0.6 to 0.7", 1), ("0.7 to 0.8", 1), ("0.8 to 0.9", 1)]
    assert histogram([1.0, 1.25], step=0.5) == [("1.0 to 1.5", 2)]
    assert histogram([], step=1) == []
