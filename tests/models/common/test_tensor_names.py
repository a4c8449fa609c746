from __future__ import annotations

from thoracle.models.common.tensor_names import shared_prefix, summarize_names, without_wrappers


def test_few_short_harmless_names_with_their_nearest() -> None:
    assert summarize_names(["encoder.layer.0.weigth"], near=["encoder.layer.0.weight", "x"]) == (
        "encoder.layer.0.weigth (nearest: encoder.layer.0.weight)"
    )
    assert summarize_names([f"n{number}" for number in range(9)]).endswith("n5 and 3 more")
    assert "\x1b" not in summarize_names(["\x1b[31m"])
    assert len(summarize_names(["n" * 10_000])) <= 160


def test_wrappers_are_taken_out_wherever_they_stand() -> None:
    assert without_wrappers("_orig_mod.encoder._checkpoint_wrapped_module.layer._orig_mod.weight") == "encoder.layer.weight"
    assert without_wrappers("module.weight") == "module.weight"


def test_a_prefix_is_taken_as_long_as_all_share_it_and_until_one_is_known() -> None:
    def known(name: str) -> bool:
        return name.startswith("vq.")

    assert shared_prefix(["vq.a", "other"], known=known) == ""
    assert shared_prefix(["module.model.vq.a", "module.model.head"], known=known) == "module.model."
    assert shared_prefix(["module.vq.a", "head"], known=known) is None  # not all share it
    assert shared_prefix(["module.a.b", "module.a.c"], known=known) is None
    assert shared_prefix([], known=known) is None
