from __future__ import annotations

from thoracle.models.common.tensor_names import summarize_names


def test_few_short_harmless_names_with_their_nearest() -> None:
    assert summarize_names(["encoder.layer.0.weigth"], near=["encoder.layer.0.weight", "x"]) == (
        "encoder.layer.0.weigth (nearest: encoder.layer.0.weight)"
    )
    assert summarize_names([f"n{number}" for number in range(9)]).endswith("n5 and 3 more")
    assert "\x1b" not in summarize_names(["\x1b[31m"])
    assert len(summarize_names(["n" * 10_000])) <= 160
