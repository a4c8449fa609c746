"""Answers' worth: words against the libraries' own corpora, clinical content by hand, and what guessing gives."""

from __future__ import annotations

import numpy as np
import pytest

from thoracle.cohort.vqa.vqa_file import QuestionAnswer
from thoracle.evaluation.chat.metrics import AnsweredQuestion, clinical, is_correct, plain_labels, summarise, template_similarity
from thoracle.types import ABNORMALITIES


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
    assert template_similarity(["same words here"] * 4, ["same words here"]) == {"distinct reports": 0.25, "nearest training report": 1.0}
    assert template_similarity(["one two", "three four"], ["five"])["nearest training report"] == 0


@pytest.mark.parametrize(
    ("answer", "reference", "is_right"),
    [
        ("Yes, there is.", "Yes.", True), ("no", "Yes.", False), ("", "No.", False), ("(b) emphysema", "(b) emphysema", True),
        ("(a) emphysema", "(b) emphysema", False), ("Left upper lobe.", "Left upper lobe.", True),
        ("Left lower lobe.", "Left upper lobe.", False), ("(b)", "(b) a nodule of 5 mm", True), ("B. A nodule", "b) a nodule", True),
        ("a", "(b) emphysema", False), ("c", "c) both", True), ("A nodule.", "(a) a nodule", False),
    ],
)  # fmt: skip
def test_closed_answers(answer: str, reference: str, is_right: bool) -> None:
    assert is_correct(answer, reference) == is_right


def test_a_model_that_always_says_yes_is_balanced_at_one_half() -> None:
    pairs = [
        QuestionAnswer(question="?", answer=answer, task="short_answer", type="short_answer", topic="presence", about=ABNORMALITIES[0])
        for answer in ("Yes.",) * 3 + ("No.",)
    ]
    report = QuestionAnswer(
        question="?", answer="Emphysema is seen. No nodule.", task="report_generation", type="report_generation", topic="report"
    )
    answered = [AnsweredQuestion(patient=f"p{k}", pair=pair, answer="Yes.") for k, pair in enumerate(pairs)]
    answered.append(AnsweredQuestion(patient="p9", pair=report, answer="Emphysema is seen."))
    found = summarise(answered, resamples=50)
    assert found["presence accuracy"].value == 0.75
    assert found["presence balanced accuracy"].value == 0.5
    assert found["presence balanced accuracy, mean of abnormalities"].value == 0.5
    assert found["presence accuracy"].low <= 0.75 <= found["presence accuracy"].high
    assert found["clinical F1"].value == 1.0
    assert plain_labels(["Emphysema is seen. No nodule."]).sum() == 1


def test_abnormalities_weigh_alike_in_their_mean_however_often_they_are_asked_of() -> None:
    def asked(about: str, answer: str, said: str) -> AnsweredQuestion:
        pair = QuestionAnswer(question="?", answer=answer, task="short_answer", type="short_answer", topic="presence", about=about)
        return AnsweredQuestion(patient="p", pair=pair, answer=said)

    often = [asked(ABNORMALITIES[0], answer, "Yes.") for answer in ("Yes.", "No.") * 9]
    rarely = [asked(ABNORMALITIES[1], answer, answer) for answer in ("Yes.", "No.")]
    found = summarise([*often, *rarely, asked(ABNORMALITIES[2], "Yes.", "No.")], resamples=5)
    assert found["presence balanced accuracy, mean of abnormalities"].value == pytest.approx((0.5 + 1.0) / 2)
    assert found["presence balanced accuracy"].value == pytest.approx((10 / 11 + 1 / 10) / 2)
