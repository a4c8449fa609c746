from __future__ import annotations

import pytest

from thoracle.inference.labeler.mentions import SentenceReader
from thoracle.inference.labeler.vocabulary import builtin_vocabulary
from thoracle.types import ABNORMALITIES


def meant(sentence: str, abnormality: str, topic: str = "") -> set[str]:
    """The assertions of an abnormality's mentions."""
    number = ABNORMALITIES.index(abnormality)
    mentions = SentenceReader(sentence, topic=topic).mentions(builtin_vocabulary().rules)
    return {mention.judgement.assertion for mention in mentions if mention.rule.abnormality == number}


@pytest.mark.parametrize(
    "sentence",
    [
        "The heart is not enlarged",
        "The cardiac silhouette is not enlarged",
        "The heart does not appear enlarged",
        "Heart size has not increased",
        "The cardiothoracic ratio is not increased",
        "Heart is of normal size and not enlarged",
        "Heart: not enlarged",
        "No enlargement of the heart",
        "Enlargement of the heart is not seen",
    ],
)
def test_both_halves_of_a_rule_are_judged_together(sentence: str) -> None:
    assert meant(sentence, "Cardiomegaly") <= {"negated"}


def test_a_mention_takes_the_words_next_to_it_and_not_another_s() -> None:
    assert meant("Small pericardial effusion, no pleural effusion", "Pericardial effusion") == {"affirmed"}
    assert meant("Small pericardial effusion, no pleural effusion", "Pleural effusion") == {"negated"}
    assert meant("Calcified plaques in the aorta, no calcification of the coronary arteries", "Arterial wall calcification") >= {"affirmed"}
    assert "affirmed" not in meant(
        "Calcified plaques in the aorta, no calcification of the coronary arteries", "Coronary artery wall calcification"
    )


def test_another_organ_voids_its_own_mention_only() -> None:
    assert meant("15 mm nodule in the left adrenal gland", "Lung nodule") == set()
    assert meant("15 mm nodule in the left adrenal gland, a 6 mm nodule in the right lower lobe", "Lung nodule") == {"affirmed"}
    assert meant("Nodules in the liver and lungs", "Lung nodule") == {"affirmed"}
    assert meant("A nodule in the left lobe of the thyroid", "Lung nodule") == set()


def test_a_line_s_last_name_is_the_topic_of_what_follows() -> None:
    assert SentenceReader("Thyroid: enlarged").topic == "thyroid"
    assert SentenceReader("The thyroid is enlarged").topic == ""
    assert meant("1.2 cm nodule in the left lobe", "Lung nodule", topic="thyroid") == set()
    assert meant("1.2 cm nodule in the left lower lobe", "Lung nodule", topic="liver") == {"affirmed"}


def test_a_name_of_a_field_is_meant_as_its_field_says() -> None:
    assert meant("Emphysema: mild", "Emphysema") == {"affirmed"}
    assert meant("Emphysema: none", "Emphysema") == {"negated"}
    assert meant("Lymph nodes: Enlarged node of 16 mm", "Lymphadenopathy") == {"affirmed"}
    assert meant("Lymph nodes: unremarkable", "Lymphadenopathy") <= {"negated"}
    assert meant("Effusion: suspected", "Pleural effusion") == {"uncertain"}
