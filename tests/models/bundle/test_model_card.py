from __future__ import annotations

from thoracle.models.bundle.model_card import card
from thoracle.types import RESEARCH_USE

FACTS = {
    "labels": ["Emphysema"], "preprocess": None, "tokenizer_sha256": None, "weights_sha256": "w", "source_sha256": None, "licence": "CC",
    "citations": ["Somebody 2026", "Others 2025"],
}  # fmt: skip


def test_a_card_says_what_a_reader_must_know_first() -> None:
    text = card(kind="ct-clip", config={"dim": 3}, notes=["heads is 8"], trained=False, disclaimer="Phantoms only.", **FACTS)
    for part in (RESEARCH_USE, "Untrained", "Phantoms only.", "CC", "heads is 8", "takes no volume", '"dim": 3'):
        assert part in text
    assert "To be cited: Somebody 2026; Others 2025" in text
    plain = card(kind="ct-clip", config={}, notes=[], trained=True, disclaimer="", **FACTS)
    assert "Untrained" not in plain
    assert "Assumed, because the file does not say: nothing" in plain
