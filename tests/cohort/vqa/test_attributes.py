from __future__ import annotations

import numpy as np
import pytest

from thoracle.cohort.vqa.attributes import FindingAttributes, facts_in, facts_of_mask, keyword_evidence, size_words


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("A nodule of 1.2 cm in the right upper lobe.", FindingAttributes(side="right", lobes=("right upper lobe",), size_mm=12.0)),
        ("Two nodules up to 5 x 4 mm in both lungs.", FindingAttributes(side="both", size_mm=5.0, count="two")),
        ("Numerous opacities in the lower lobes of both lungs.",
         FindingAttributes(side="both", lobes=("right lower lobe", "left lower lobe"), count="several")),
        ("A nodule of 12 × 8 mm.", FindingAttributes(size_mm=12.0)),
        ("A nodule of 1.2 by 0.8 cm.", FindingAttributes(size_mm=12.0)),
        ("A nodule of 12*8*6-mm.", FindingAttributes(size_mm=12.0)),
        ("Nodules on the left, the larger one of 8 mm.", FindingAttributes(side="left", size_mm=8.0)),
        ("One of the nodules has 4 mm.", FindingAttributes(size_mm=4.0)),
        ("One nodule.", FindingAttributes(count="one")),
        ("Effusion on the left.", FindingAttributes(side="left")),
        ("Emphysema.", FindingAttributes()),
        ("Severe emphysema on both sides.", FindingAttributes(side="both", severity="severe")),
        ("Mild to moderate emphysema.", FindingAttributes()),
        ("Minimal effusion.", FindingAttributes()),
    ],
)  # fmt: skip
def test_sentences_tell_side_lobes_size_number_and_severity(sentence: str, expected: FindingAttributes) -> None:
    assert facts_in([sentence]) == expected


def test_the_first_sentence_that_states_an_attribute_decides() -> None:
    attributes = facts_in(["A nodule on the left.", "It measures 7 mm.", "Another of 9 mm on the right."])
    assert (attributes.side, attributes.size_mm) == ("left", 7.0)


def test_denied_sentences_are_no_evidence() -> None:
    evidence = keyword_evidence("No pleural effusion. Cardiomegaly is seen. Nodules are present.")
    assert evidence["Pleural effusion"] == []
    assert evidence["Cardiomegaly"] == ["Cardiomegaly is seen."]
    assert evidence["Lung nodule"] == ["Nodules are present."]


def test_a_mask_tells_side_extent_and_number_of_parts() -> None:
    mask = np.zeros((20, 20, 20), bool)
    mask[2:4, 2:8, 2:4] = True
    mask[15:17, 2:4, 2:4] = True
    attributes = facts_of_mask(mask, spacing=(1.0, 2.0, 1.0), midline=9.5)
    assert attributes == FindingAttributes(side="both", size_mm=12.0, count="two")
    mask[15:17] = False
    assert facts_of_mask(mask, spacing=(1.0, 2.0, 1.0), midline=9.5).side == "right"
    assert facts_of_mask(np.zeros_like(mask), spacing=(1.0, 1.0, 1.0), midline=9.5) == FindingAttributes()
    assert size_words(11.6) == "12 mm"
