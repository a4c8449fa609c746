"""Answers' worth: words against the libraries' own corpora, clinical content by hand, and what guessing gives."""

from __future__ import annotations

import numpy as np
import pytest
from nltk.translate.bleu_score import corpus_bleu

from thoracle.cohort.questions.file import Pair
from thoracle.errors import InputError
from thoracle.evaluation.chat import Answered, clinical, diversity, plain_labels, right, summarise
from thoracle.evaluation.chat_text import METEOR, cider, measure_texts
from thoracle.types import ABNORMALITIES

SAID = ["there is a small left pleural effusion today", "no lung nodule is seen in the right lung", "the heart is normal in size"]
WANTED = ["there is a left pleural effusion", "no lung nodule was seen in the right upper lobe", "heart size is normal"]
ALL = np.ones((1, 3))


def test_bleu_is_the_librarys_of_the_whole_corpus() -> None:
    found = measure_texts(SAID, WANTED)(ALL)
    references, answers = [[text.split()] for text in WANTED], [text.split() for text in SAID]
    for order in (1, 2, 3, 4):
        expected = corpus_bleu(references, answers, weights=[1 / order] * order)
        assert found[f"BLEU-{order}"][0] == pytest.approx(expected, abs=1e-9)


def test_equal_words_score_highest_and_weights_count_answers() -> None:
    same = measure_texts(WANTED, WANTED)(ALL)
    assert same["BLEU-4"][0] == pytest.approx(1)
    assert same["ROUGE-L"][0] == pytest.approx(1)
    assert same[METEOR][0] > 0.99
    drawn = measure_texts(SAID, WANTED)(np.array([[2.0, 0.0, 1.0]]))
    repeated = measure_texts([SAID[0], SAID[0], SAID[2]], [WANTED[0], WANTED[0], WANTED[2]])(ALL)
    assert drawn["BLEU-2"] == pytest.approx(repeated["BLEU-2"])
    assert drawn["ROUGE-L"] == pytest.approx(repeated["ROUGE-L"])
    with pytest.raises(InputError, match="1 answers and 0 references"):
        measure_texts(["x"], [])


def test_cider_by_hand() -> None:
    # Two documents; "a" is in both and weighs nothing, "b" and "c" log 2 each; bigrams "a b", "a c" log 2.
    words = [["a", "b"], ["a", "c"]]
    assert cider(words, words) == pytest.approx([5.0, 5.0]), "unigrams and bigrams match wholly, there are no longer ones"
    assert cider([["a", "c"], ["a", "c"]], words) == pytest.approx([0.0, 5.0])


def test_cider_by_hand_of_an_answer_that_repeats_itself() -> None:
    # All words log 2. One word: (2, 1) against (1, 1), clipped to (1, 1): 2 / (sqrt 5 sqrt 2); two: (1, 1) against (1): 1 / sqrt 2;
    # the reference has no three. One word longer: exp(-1 / 72).
    found = cider([["a", "a", "b"], ["c", "d"]], [["a", "b"], ["c", "d"]])
    assert found[0] == pytest.approx(10 / 4 * (2 / 10**0.5 + 1 / 2**0.5) * np.exp(-1 / 72))
    assert found[1] == pytest.approx(5.0)


def test_clinical_figures_by_hand_and_crg_of_trivial_answers() -> None:
    wanted = np.array([[1.0, 0, 0, 0], [1, 1, 0, 0]])
    weights = np.ones((1, 2))
    found = clinical(np.array([[1.0, 1, 0, 0], [1, 0, 0, 0]]), wanted, weights)
    assert found["clinical precision"][0] == pytest.approx(2 / 3)
    assert found["clinical recall"][0] == pytest.approx(2 / 3)
    # w = (8 - 3) / 6; s = 2 w - w - 1; S = 3 w
    weight = 5 / 6
    assert found["CRG"][0] == pytest.approx(3 * weight / (6 * weight - (weight - 1)))
    for said, score in ((wanted, 1.0), (np.zeros((2, 4)), 1 / 3), (np.ones((2, 4)), 1 / 3)):
        assert clinical(said, wanted, weights)["CRG"][0] == pytest.approx(score)


def test_templates_are_exposed() -> None:
    assert diversity(["same words here"] * 4, ["same words here"]) == {"distinct reports": 0.25, "nearest training report": 1.0}
    assert diversity(["one two", "three four"], ["five"])["nearest training report"] == 0


@pytest.mark.parametrize(
    ("answer", "reference", "is_right"),
    [
        ("Yes, there is.", "Yes.", True), ("no", "Yes.", False), ("", "No.", False), ("(b) emphysema", "(b) emphysema", True),
        ("(a) emphysema", "(b) emphysema", False), ("Left upper lobe.", "Left upper lobe.", True),
        ("Left lower lobe.", "Left upper lobe.", False),
    ],
)  # fmt: skip
def test_closed_answers(answer: str, reference: str, is_right: bool) -> None:
    assert right(answer, reference) == is_right


def test_a_model_that_always_says_yes_is_balanced_at_one_half() -> None:
    pairs = [
        Pair(question="?", answer=answer, task="short_answer", type="short_answer", topic="presence", about=ABNORMALITIES[0])
        for answer in ("Yes.",) * 3 + ("No.",)
    ]
    report = Pair(question="?", answer="Emphysema is seen. No nodule.", task="report_generation", type="report_generation", topic="report")
    answered = [Answered(patient=f"p{k}", pair=pair, answer="Yes.") for k, pair in enumerate(pairs)]
    answered.append(Answered(patient="p9", pair=report, answer="Emphysema is seen."))
    found = summarise(answered, resamples=50)
    assert found["presence accuracy"].value == 0.75
    assert found["presence balanced accuracy"].value == 0.5
    assert found["presence balanced accuracy, mean of abnormalities"].value == 0.5
    assert found["presence accuracy"].low <= 0.75 <= found["presence accuracy"].high
    assert found["clinical F1"].value == 1.0
    assert plain_labels(["Emphysema is seen. No nodule."]).sum() == 1


def test_abnormalities_weigh_alike_in_their_mean_however_often_they_are_asked_of() -> None:
    def asked(about: str, answer: str, said: str) -> Answered:
        pair = Pair(question="?", answer=answer, task="short_answer", type="short_answer", topic="presence", about=about)
        return Answered(patient="p", pair=pair, answer=said)

    often = [asked(ABNORMALITIES[0], answer, "Yes.") for answer in ("Yes.", "No.") * 9]
    rarely = [asked(ABNORMALITIES[1], answer, answer) for answer in ("Yes.", "No.")]
    found = summarise([*often, *rarely, asked(ABNORMALITIES[2], "Yes.", "No.")], resamples=5)
    assert found["presence balanced accuracy, mean of abnormalities"].value == pytest.approx((0.5 + 1.0) / 2)
    assert found["presence balanced accuracy"].value == pytest.approx((10 / 11 + 1 / 10) / 2)
