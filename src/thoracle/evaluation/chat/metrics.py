"""Measure answers about scans: closed questions, text overlap, clinical content, variety.

Shapes: N answers, K abnormalities, R draws.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import partial
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from thoracle.cohort.manifest import CohortEntry
from thoracle.cohort.vqa.attributes import keyword_evidence
from thoracle.cohort.vqa.vqa_file import QuestionAnswer, QuestionSet
from thoracle.metrics.bootstrap import RESAMPLES, Interval, patient_weights, percentile_interval
from thoracle.metrics.classification import f1_score
from thoracle.metrics.text import measure_texts
from thoracle.types import ABNORMALITIES, FloatArray

#: Topics whose answers are right or wrong.
CLOSED: Final = (
    "presence", "any", "number", "either", "side", "lobe", "count", "severity",
    "choice", "side choice", "lobe choice", "severity choice", "either choice", "change",
)  # fmt: skip
#: A choice's letter: in or before a bracket, point or colon, or alone; in bold too.
_LETTER: Final = re.compile(r"[\W_]*([a-z])(?:[*_]*[).:\]]|[\W_]*$)")
#: Marks, quotes and brackets around a word.
_AROUND: Final = re.compile(r"^[\W_]+|[\W_]+$")
#: Reports of a text to 0 and 1 of each abnormality, (N, K).
Label = Callable[[Sequence[str]], FloatArray]
#: Weights of questions to figures by name, (R, N) to (R,) each.
Measure = Callable[[FloatArray], dict[str, FloatArray]]


@dataclass(frozen=True, kw_only=True)
class AnsweredQuestion:
    """Hold a question with its reference and the model's answer.

    Attributes:
        patient: whose scan it is about.
        pair: the question and the reference.
        answer: the model's.
    """

    patient: str
    pair: QuestionAnswer
    answer: str


def patient_of(conversation: QuestionSet, entries: Mapping[str, CohortEntry]) -> str:
    """Return whose scans a conversation is about; one about no scan counts for itself."""
    return entries[conversation.images[0]].patient if conversation.images else conversation.id


@dataclass(frozen=True, kw_only=True)
class JudgeScores:
    """Hold what a judge says answers are worth.

    Attributes:
        values: (N,) whole numbers, NaN where the judge gave none.
        verdicts: answers that hold the form of a verdict, which have the lowest score.
    """

    values: FloatArray
    verdicts: int


#: Answers to what each is worth.
Judge = Callable[[Sequence[AnsweredQuestion]], JudgeScores]


def plain_labels(texts: Sequence[str]) -> FloatArray:
    """Label texts by keywords in sentences that deny nothing."""
    return np.array([[float(bool(positive)) for positive in keyword_evidence(text).values()] for text in texts]).reshape(
        -1, len(ABNORMALITIES)
    )


def summarise(
    answered: Sequence[AnsweredQuestion],
    *,
    label: Label = plain_labels,
    judged: Judge | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """Compute every metric that the questions allow, with intervals over patients; `judged` adds the mean score of open answers,
    of how many, and how many of these hold the form of a verdict."""
    metrics: dict[str, Interval] = {}
    for part, measure in _measures(answered, label):
        metrics |= _interval(part, measure, resamples, seed)
    if judged is not None and (free := [question for question in answered if question.pair.topic not in CLOSED]):
        metrics |= _judge_metrics(free, judged(free), resamples, seed)
    return metrics


def compare_answers(
    answered: Sequence[AnsweredQuestion],
    others: Sequence[AnsweredQuestion],
    *,
    label: Label = plain_labels,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """Compute by how much every metric of `answered` is above that of other answers to the same questions, over the same draws of patients.

    Raises:
        ValueError: the answers are to other questions.
    """
    if [question.pair for question in answered] != [question.pair for question in others]:
        raise ValueError("the answers are to other questions")
    metrics: dict[str, Interval] = {}
    for (part, first), (_, second) in zip(_measures(answered, label), _measures(others, label), strict=True):
        metrics |= _interval(part, partial(_difference, first, second), resamples, seed)
    return metrics


def _difference(first: Measure, second: Measure, weights_RN: FloatArray) -> dict[str, FloatArray]:
    below = second(weights_RN)
    return {name: values - below[name] for name, values in first(weights_RN).items()}


def _measures(answered: Sequence[AnsweredQuestion], label: Label) -> Iterator[tuple[list[AnsweredQuestion], Measure]]:
    """The questions of each kind, and what is measured of their answers."""
    for topic in CLOSED:
        part = [question for question in answered if question.pair.topic == topic]
        if part:
            yield part, _accuracy(part, topic)
    parts: dict[str, list[AnsweredQuestion]] = {"report": [], "long answer": [], "short answer": []}
    for question in answered:
        if question.pair.topic not in CLOSED:
            parts[_open_kind(question.pair)].append(question)
    for name, part in parts.items():
        if part:
            answers, references = [question.answer for question in part], [question.pair.answer for question in part]
            yield part, partial(_named, f"{name} ", measure_texts(answers, references))
            if name != "short answer":
                content = partial(clinical, label(answers), label(references))
                yield part, partial(_named, "" if name == "report" else f"{name} ", content)


def _open_kind(pair: QuestionAnswer) -> str:
    if pair.topic == "report":
        return "report"
    return "long answer" if pair.task == "long_answer" else "short answer"


def _named(prefix: str, measure: Measure, weights_RN: FloatArray) -> dict[str, FloatArray]:
    return {f"{prefix}{name}": values for name, values in measure(weights_RN).items()}


def clinical(said_NK: FloatArray, wanted_NK: FloatArray, weights_RN: FloatArray) -> dict[str, FloatArray]:
    """Compute precision, recall and F1 of all abnormalities together, mean F1 of each, and CRG, (R,) each.

    CRG (Hamamci et al. 2025) weighs a missed finding by how rare findings are, so that naming all or none gives 1/3 and all right 1.
    """
    hits = weights_RN @ (said_NK * wanted_NK)
    wrong, missed = weights_RN @ (said_NK * (1 - wanted_NK)), weights_RN @ ((1 - said_NK) * wanted_NK)
    true, false, lost = hits.sum(axis=1), wrong.sum(axis=1), missed.sum(axis=1)
    positives, total = true + lost, weights_RN.sum(axis=1) * said_NK.shape[1]
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a draw in which nothing is there
        weight = (total - positives) / (2 * positives)
        best = positives * weight
        return {
            "clinical precision": np.nan_to_num(true / (true + false)),
            "clinical recall": true / positives,
            "clinical F1": np.nan_to_num(f1_score(true, false, lost)),
            "clinical macro F1": np.nanmean(np.where(weights_RN @ wanted_NK > 0, f1_score(hits, wrong, missed), np.nan), axis=1),
            "CRG": best / (2 * best - (weight * true - weight * lost - false)),
        }


def template_similarity(reports: Sequence[str], training: Sequence[str]) -> Mapping[str, float]:
    """Measure reliance on templates: distinct over all reports, and mean similarity (0 to 1) to the nearest training report.

    A model that always says the same has a share of 1 / N; one that recites training reports has a similarity of 1.
    """
    nearest = [
        max((SequenceMatcher(None, text.split(), training_text.split()).ratio() for training_text in training), default=0.0)
        for text in set(reports)
    ]
    return {"distinct reports": len(set(reports)) / max(len(reports), 1), "nearest training report": float(np.mean(nearest or [0.0]))}


def is_correct(answer: str, reference: str) -> bool:
    """Tell whether a closed answer agrees with the reference: as many words as that has, up to three, or a choice's letter, whatever
    follows."""
    texts = [text.lower() for text in (answer, reference)]
    letters = [_LETTER.match(text) for text in texts]
    if letters[0] and letters[1]:
        return letters[0][1] == letters[1][1]
    predicted, expected = ([stripped for word in text.split() if (stripped := _AROUND.sub("", word))] for text in texts)
    return bool(expected) and predicted[: len(expected[:3])] == expected[:3]


def _judge_metrics(part: Sequence[AnsweredQuestion], scores: JudgeScores, resamples: int, seed: int) -> dict[str, Interval]:
    """Mean of the scores that there are, NaN of none; with counts, so that a judge that did not answer is seen."""
    is_scored = ~np.isnan(scores.values)
    scored, worth = [question for question, score in zip(part, is_scored, strict=True) if score], scores.values[is_scored]
    name, nan = "judge, 0 to 10", float("nan")
    metrics = {name: Interval(value=nan, low=nan, high=nan)}
    if scored:
        metrics = _interval(scored, lambda weights: {name: weights @ worth / weights.sum(axis=1)}, resamples, seed)
    counts = {
        "judge, answers asked": len(part),
        "judge, answers scored": len(scored),
        "judge, answers that hold a verdict": scores.verdicts,
    }
    return metrics | {key: Interval(value=count, low=count, high=count) for key, count in counts.items()}


def _accuracy(part: Sequence[AnsweredQuestion], topic: str) -> Measure:
    """Share that is right; of presence balanced: the mean over yes and no, of all questions together and of each abnormality's own."""
    hits = np.array([is_correct(question.answer, question.pair.answer) for question in part], float)
    yes = np.array([question.pair.answer.startswith("Yes") for question in part], float)
    about = np.array([question.pair.about for question in part])

    def measure(weights_RN: FloatArray) -> dict[str, FloatArray]:
        metrics = {f"{topic} accuracy": weights_RN @ hits / weights_RN.sum(axis=1)}
        if topic == "presence":
            with np.errstate(divide="ignore", invalid="ignore"):
                of = [(weights_RN @ (hits * group)) / (weights_RN @ group) for group in (yes, 1 - yes)]
            metrics["presence balanced accuracy"] = (of[0] + of[1]) / 2
            metrics["presence balanced accuracy, mean of abnormalities"] = _by_abnormality(weights_RN, hits, yes, about)
        return metrics

    return measure


def _by_abnormality(weights_RN: FloatArray, hits: FloatArray, yes: FloatArray, about: NDArray[np.str_]) -> FloatArray:
    """(R,), over those abnormalities of which both answers were drawn."""
    draws = []
    for name in np.unique(about):
        groups = [group * (about == name) for group in (yes, 1 - yes)]
        with np.errstate(divide="ignore", invalid="ignore"):
            draws.append(sum((weights_RN @ (hits * group)) / (weights_RN @ group) for group in groups) / 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a draw in which no abnormality has both
        return cast(FloatArray, np.nanmean(draws, axis=0))


def _interval(part: Sequence[AnsweredQuestion], measure: Measure, resamples: int, seed: int) -> dict[str, Interval]:
    values = measure(np.ones((1, len(part))))
    blocks = [measure(weights) for weights in patient_weights([question.patient for question in part], resamples=resamples, seed=seed)]
    return {
        name: percentile_interval(value, np.concatenate([block[name] for block in blocks])[:, None])[0] for name, value in values.items()
    }
