"""How near an answer's words are to a reference: BLEU, ROUGE-L, METEOR, CIDEr; counts of each answer, so that patients can be drawn.

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
from thoracle.evaluation.metrics import Array

#: METEOR's third stage needs WordNet, which is a download: without it the metric has another name.
METEOR: Final = "METEOR (exact, stem)"
NAMES: Final = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", METEOR, "CIDEr-D")
_TOKEN: Final = re.compile(r"\w+")
_ORDERS: Final = 4
_SIGMA: Final = 6.0


def measure_texts(answers: Sequence[str], references: Sequence[str]) -> Callable[[Array], dict[str, Array]]:
    """A function from weights (R, N) to each of `NAMES` (R,).

    Raises:
        InputError: none, or unlike numbers of them.
        ExtraMissing: nltk or rouge-score are not installed.
    """
    if not answers or len(answers) != len(references):
        raise InputError(f"{len(answers)} answers and {len(references)} references", cure="Give one reference an answer.")
    said, wanted = ([_tokens(text) for text in texts] for texts in (answers, references))
    bleu = _bleu_counts(said, wanted)
    means = {"ROUGE-L": _rouge_l(answers, references), METEOR: _meteor(said, wanted), "CIDEr-D": cider(said, wanted)}

    def measure(weights_RN: Array) -> dict[str, Array]:
        scores = dict(zip(NAMES, _bleu(weights_RN, *bleu), strict=False))
        total = weights_RN.sum(axis=1)
        return scores | {name: weights_RN @ values / total for name, values in means.items()}

    return measure


def cider(answers: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> Array:
    """(N,) CIDEr-D (Vedantam et al., arXiv:1411.5726) with one reference each: ten times the mean over 1- to 4-grams of the cosine of
    clipped counts times inverse document frequency, less for unlike lengths."""
    scores = np.zeros(len(answers))
    for order in range(1, _ORDERS + 1):
        grams = [_grams(text, order) for text in references]
        documents = Counter(gram for one in grams for gram in one)
        rarity = {gram: math.log(len(references) / count) for gram, count in documents.items()}
        unseen = math.log(len(references))
        for k, (said, wanted) in enumerate(zip((_grams(text, order) for text in answers), grams, strict=True)):
            a, b = ({gram: count * rarity.get(gram, unseen) for gram, count in counts.items()} for counts in (said, wanted))
            norm = math.sqrt(sum(v * v for v in a.values()) * sum(v * v for v in b.values()))
            if norm:
                apart = len(answers[k]) - len(references[k])
                near = math.exp(-(apart**2) / (2 * _SIGMA**2))
                scores[k] += near * sum(min(value, b[gram]) * b[gram] for gram, value in a.items() if gram in b) / norm
    return scores * (10 / _ORDERS)


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(text.lower())


def _grams(text: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(text[k : k + order]) for k in range(len(text) - order + 1))


def _bleu_counts(answers: Sequence[list[str]], references: Sequence[list[str]]) -> tuple[Array, Array, Array, Array]:
    """Hits (N, 4) and n-grams (N, 4) of each answer, its length (N,) and its reference's (N,)."""
    precision = _library("nltk.translate.bleu_score").modified_precision
    hits, grams = np.zeros((2, len(answers), _ORDERS))
    for k, (said, wanted) in enumerate(zip(answers, references, strict=True)):
        for order in range(1, _ORDERS + 1):
            if len(said) >= order:
                found = precision([wanted], said, order)
                hits[k, order - 1], grams[k, order - 1] = found.numerator, len(said) - order + 1
                hits[k, order - 1] *= grams[k, order - 1] / found.denominator  # nltk may have cancelled the fraction
    return hits, grams, np.array([len(t) for t in answers], float), np.array([len(t) for t in references], float)


def _bleu(weights_RN: Array, hits: Array, grams: Array, said: Array, wanted: Array) -> list[Array]:
    with np.errstate(divide="ignore", invalid="ignore"):
        precision_R4 = (weights_RN @ hits) / (weights_RN @ grams)
        logs = np.log(np.nan_to_num(precision_R4))
        brevity = np.minimum(0, 1 - (weights_RN @ wanted) / (weights_RN @ said))
        return [np.nan_to_num(np.exp(logs[:, :order].mean(axis=1) + brevity)) for order in range(1, _ORDERS + 1)]


def _rouge_l(answers: Sequence[str], references: Sequence[str]) -> Array:
    scorer = _library("rouge_score.rouge_scorer").RougeScorer(["rougeL"])
    return np.array([scorer.score(wanted, said)["rougeL"].fmeasure for said, wanted in zip(answers, references, strict=True)])


def _meteor(answers: Sequence[list[str]], references: Sequence[list[str]]) -> Array:
    score = _library("nltk.translate.meteor_score").single_meteor_score
    return np.array([score(wanted, said, wordnet=_NoSynonyms()) for said, wanted in zip(answers, references, strict=True)], float)


class _NoSynonyms:
    """In WordNet's place."""

    def synsets(self, word: str) -> list[Any]:
        """None are known."""
        return []


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        package = {"nltk": "nltk", "rouge_score": "rouge-score"}[name.split(".", maxsplit=1)[0]]
        raise ExtraMissing(f"{package} is not installed", cure="Install it with `pip install 'thoracle[chat]'`.") from error
