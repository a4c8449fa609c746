from __future__ import annotations

from thoracle.types import ABNORMALITIES, RESEARCH_USE


def test_the_abnormalities_are_ct_rates_in_its_order() -> None:
    assert (len(ABNORMALITIES), len(set(ABNORMALITIES))) == (18, 18)
    assert (ABNORMALITIES[0], ABNORMALITIES[7], ABNORMALITIES[17]) == ("Medical material", "Emphysema", "Interlobular septal thickening")
    assert RESEARCH_USE == "Research use only. Not a medical device."
