from __future__ import annotations

from thoracle.models.common.prompts import format_prompts


def test_present_and_absent_alternate() -> None:
    assert format_prompts(["Emphysema", "{braces}"]) == [
        "Emphysema is present.",
        "Emphysema is not present.",
        "{braces} is present.",
        "{braces} is not present.",
    ]
    assert format_prompts(["x"], ["a {abnormality} b"]) == ["a x b"]
    assert len(format_prompts()) == 36
