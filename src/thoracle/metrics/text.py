"""Compute BLEU, ROUGE-L, METEOR and CIDEr-D of answers and references, weighted so that patients can be drawn.

BLEU's counts and METEOR are nltk's, ROUGE-L is rouge-score's, CIDEr-D is written here (docs/decisions/0070-chat-metrics.md).

Shapes: N answers, R draws; weights (R, N) say how often each answer counts.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Final

import numpy as np

from thoracle.errors import ExtraMissing, InputError
from thoracle.types import FloatArray

#: METEOR's third stage needs WordNet, which is a download: without it the metric has another name.
METEOR: Final = "METEOR (exact, stem)"
NAMES: Final = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", METEOR, "CIDEr-D")
_TOKEN: Final = re.compile(r"\w+")
_ORDERS: Final = 4
_SIGMA: Final = 6.0


def measure_texts(answers: Sequence[str], references: Sequence[str]) -> Callable[[FloatArray], dict[str, FloatArray]]:
    """Count the words of answers once, and return a function from weights (R, N) to each of `NAMES`, (R,).

    Raises:
        InputError: no answer, or another number of references.
        ExtraMissing: nltk or rouge-score are not installed.
    """
    if not answers or len(answers) != len(references):
        raise InputError(f"{len(answers)} answers and {len(references)} references", hint="Give one reference an answer.")
    answer_tokens, reference_tokens = ([_tokens(text) for text in texts] for texts in (answers, references))
    bleu = _bleu_counts(answer_tokens, reference_tokens)
    means = {
        "ROUGE-L": _rouge_l(answers, references),
        METEOR: _meteor(answer_tokens, reference_tokens),
        "CIDEr-D": cider(answer_tokens, reference_tokens),
    }

    def measure(weights_RN: FloatArray) -> dict[str, FloatArray]:
        scores = dict(zip(NAMES, _bleu(weights_RN, *bleu), strict=False))
        total = weights_RN.sum(axis=1)
        return scores | {name: weights_RN @ values / total for name, values in means.items()}

    return measure


def cider(answers: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> FloatArray:
    """Compute CIDEr-D with one reference an answer (Vedantam et al., arXiv:1411.5726), (N,).

    It is ten times the mean over 1- to 4-grams of the cosine of clipped counts times inverse document frequency, less where lengths differ.

    Args:
        answers, references: N sequences of tokens.
    """
    scores = np.zeros(len(answers))
    for order in range(1, _ORDERS + 1):
        grams = [_grams(text, order) for text in references]
        documents = Counter(gram for counts in grams for gram in counts)
        rarity = {gram: math.log(len(references) / count) for gram, count in documents.items()}
        rarest = math.log(len(references))
        for k, pair in enumerate(zip((_grams(text, order) for text in answers), grams, strict=True)):
            a, b = ({gram: count * rarity.get(gram, rarest) for gram, count in counts.items()} for counts in pair)
            norm = math.sqrt(sum(v * v for v in a.values()) * sum(v * v for v in b.values()))
            if norm:
                difference = len(answers[k]) - len(references[k])
                penalty = math.exp(-(difference**2) / (2 * _SIGMA**2))
                scores[k] += penalty * sum(min(value, b[gram]) * b[gram] for gram, value in a.items() if gram in b) / norm
    return scores * (10 / _ORDERS)


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(text.lower())


def _grams(text: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(text[k : k + order]) for k in range(len(text) - order + 1))


def _bleu_counts(answers: Sequence[list[str]], references: Sequence[list[str]]) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Count hits (N, 4) and n-grams (N, 4) of each answer, its length (N,) and its reference's (N,)."""
    precision = _library("nltk.translate.bleu_score").modified_precision
    hits, grams = np.zeros((2, len(answers), _ORDERS))
    for k, (answer, reference) in enumerate(zip(answers, references, strict=True)):
        for order in range(1, _ORDERS + 1):
            if len(answer) >= order:
                fraction = precision([reference], answer, order)
                hits[k, order - 1], grams[k, order - 1] = fraction.numerator, len(answer) - order + 1
                hits[k, order - 1] *= grams[k, order - 1] / fraction.denominator  # nltk may have cancelled the fraction
    return hits, grams, np.array([len(t) for t in answers], float), np.array([len(t) for t in references], float)


def _bleu(
    weights_RN: FloatArray, hits: FloatArray, grams: FloatArray, answer_lengths: FloatArray, reference_lengths: FloatArray
) -> list[FloatArray]:
    with np.errstate(divide="ignore", invalid="ignore"):
        precision_R4 = (weights_RN @ hits) / (weights_RN @ grams)
        logs = np.log(np.nan_to_num(precision_R4))
        brevity = np.minimum(0, 1 - (weights_RN @ reference_lengths) / (weights_RN @ answer_lengths))
        return [np.nan_to_num(np.exp(logs[:, :order].mean(axis=1) + brevity)) for order in range(1, _ORDERS + 1)]


def _rouge_l(answers: Sequence[str], references: Sequence[str]) -> FloatArray:
    scorer = _library("rouge_score.rouge_scorer").RougeScorer(["rougeL"])
    return np.array([scorer.score(reference, answer)["rougeL"].fmeasure for answer, reference in zip(answers, references, strict=True)])


def _meteor(answers: Sequence[list[str]], references: Sequence[list[str]]) -> FloatArray:
    score = _library("nltk.translate.meteor_score").single_meteor_score
    return np.array([score(reference, answer, wordnet=_NoSynonyms()) for answer, reference in zip(answers, references, strict=True)], float)


class _NoSynonyms:
    """Stand in for WordNet, which is a download."""

    def synsets(self, word: str) -> list[Any]:
        """Return no synonyms."""
        return []


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        package = {"nltk": "nltk", "rouge_score": "rouge-score"}[name.split(".", maxsplit=1)[0]]
        raise ExtraMissing(f"{package} is not installed", hint="Install it with `pip install 'thoracle[chat]'`.") from error
