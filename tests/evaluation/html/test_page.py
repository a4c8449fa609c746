from __future__ import annotations

import pytest

from thoracle.evaluation.html import page as html
from thoracle.types import RESEARCH_USE


def test_a_page_escapes_what_it_is_given_and_bears_the_notice() -> None:
    parts = [html.heading("<h>"), html.paragraph("<p>"), html.table(["<c>"], [["<x>"], [0.12345], [float("nan")]])]
    content = html.page("<t>", parts, script="run()").decode()
    assert RESEARCH_USE in content
    for name in ("t", "h", "p", "c", "x"):
        assert f"&lt;{name}&gt;" in content
    assert "0.123" in content
    assert content.count("<script>run()</script>") == 1
    assert "http" not in content


def test_no_control_character_reaches_a_page() -> None:
    content = html.page("a\x1b[2J", [html.heading("b\x07"), html.paragraph("c\u202ed"), html.table(["e\x00"], [["f\x9b"]])]).decode()
    assert not set("\x1b\x07\u202e\x00\x9b") & set(content)
    assert "<p>cd</p>" in content


@pytest.mark.parametrize(("bounds", "text"), [((0.731, 0.702, 0.760), "0.731 (0.702 to 0.760)")])
def test_bounds(bounds: tuple[float, float, float], text: str) -> None:
    assert html.with_bounds(*bounds) == text
