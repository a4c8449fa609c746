"""Text metrics against the libraries' own corpora and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from nltk.translate.bleu_score import corpus_bleu

from thoracle.errors import InputError
from thoracle.metrics.text import METEOR, cider, measure_texts

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
