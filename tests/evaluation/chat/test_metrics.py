"""Answers' worth: words against the libraries' own corpora, clinical content by hand, and what guessing gives."""

from __future__ import annotations

import numpy as np
import pytest

from tests.cohort.vqa.scans import fixed_cases
from thoracle.cohort.vqa.templates import make_questions
from thoracle.cohort.vqa.vqa_file import QuestionAnswer
from thoracle.evaluation.chat.metrics import (
    CLOSED,
    AnsweredQuestion,
    clinical,
    compare_answers,
    is_correct,
    plain_labels,
    summarise,
    template_similarity,
)
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
        ("Still absent.", "Still there.", False), ("still there", "Still there.", True), ("Lung nodule.", "Lung opacity.", False),
        ("**Yes.** There is.", "Yes.", True), ("“Yes”", "Yes.", True), ("- _No_;", "No.", True), ("**3**", "3.", True),
        ("Yes/no", "Yes.", False),
        ("**(b)** both", "(b) both", True), ("[B] both", "(b) both", True), ("**B**: both", "(b) both", True),
        ("B - both", "(b) both", True),
        ("**c**", "(b) both", False), ("*A* pleural effusion", "(b) both", False),
        ("Lung nodule, 5 mm", "Lung nodule.", True), ("Pulmonary fibrotic sequela.", "Pulmonary fibrotic sequela.", True),
        ("3.", "3.", True), ("2", "3.", False), ("Right upper lobe.", "Right.", True), ("Neither of them", "Neither.", True),
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


def _asked(topic: str, task: str, reference: str, answer: str, *, patient: str = "p", about: str = "") -> AnsweredQuestion:
    pair = QuestionAnswer(question="?", answer=reference, task=task, type=task, topic=topic, about=about)
    return AnsweredQuestion(patient=patient, pair=pair, answer=answer)


def test_every_task_and_topic_has_figures_of_its_own() -> None:
    answered = [
        *(_asked(topic, "multiple_choice" if "choice" in topic else "short_answer", "Yes.", "Yes.", about="Emphysema") for topic in CLOSED),
        _asked("size", "short_answer", "12 mm.", "12 mm."),
        _asked("region", "long_answer", "There is emphysema. There is no lung nodule.", "There is emphysema and lung nodule."),
        _asked("long", "long_answer", "Cardiomegaly is present.", "Cardiomegaly is not present."),
        _asked("report", "report_generation", "Emphysema.", "Emphysema."),
    ]
    figures = summarise(answered, resamples=5)
    assert {f"{topic} accuracy" for topic in CLOSED} <= figures.keys()
    assert figures["either choice accuracy"].value == 1.0
    assert figures["short answer BLEU-1"].value == 1.0
    assert figures["long answer clinical precision"].value == pytest.approx(1 / 2), "emphysema right, a nodule wrong, cardiomegaly missed"
    assert figures["long answer clinical recall"].value == pytest.approx(1 / 2)
    assert figures["clinical F1"].value == 1.0, "of reports alone"


def test_what_templates_ask_is_right_or_wrong_but_for_sizes_and_sentences() -> None:
    topics = {pair.topic for one in make_questions(fixed_cases(20)) for pair in one.pairs}
    assert topics - set(CLOSED) == {"size", "finding", "region", "comparison", "findings", "report"}


def test_a_difference_is_paired_over_the_same_draws_of_patients() -> None:
    """Two of ten patients are answered rightly by one alone: each answer's interval is wide, that of the difference is of these two."""
    right = [_asked("presence", "short_answer", "Yes.", "Yes." if k % 2 else "No.", patient=f"p{k}") for k in range(10)]
    worse = [_asked("presence", "short_answer", "Yes.", "Yes." if k % 2 and k > 3 else "No.", patient=f"p{k}") for k in range(10)]
    difference = compare_answers(right, worse, resamples=500)["presence accuracy"]
    assert difference.value == pytest.approx(0.5 - 0.3)
    assert 0 <= difference.low <= 0.1, "nobody is answered worse"
    assert difference.high < 0.6
    same = compare_answers(right, right, resamples=50)
    assert {(value.low, value.high) for name, value in same.items() if name == "presence accuracy"} == {(0.0, 0.0)}


def test_answers_to_other_questions_have_no_difference() -> None:
    with pytest.raises(ValueError, match="other questions"):
        compare_answers([_asked("presence", "short_answer", "Yes.", "Yes.")], [_asked("presence", "short_answer", "No.", "Yes.")])
