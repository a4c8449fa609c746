"""What is written of maps: a method that is no better is said not to be, in the page as in the document."""

from __future__ import annotations

import json

import numpy as np

from thoracle.evaluation.explanation.evaluate import ALL, summarise
from thoracle.evaluation.explanation.report import explanation_json, verdicts, write_page
from thoracle.types import ABNORMALITIES, RESEARCH_USE


def test_verdicts_name_what_beats_nothing_and_stand_in_both_documents() -> None:
    random = np.random.default_rng(0)
    values = np.full((60, 4, 18, 3), np.nan)  # two methods, two baselines; the last abnormality is in no mask
    values[:, :, :17] = random.uniform(0.2, 0.4, (60, 4, 17, 3))
    values[:, 0, 1:17] += 0.3  # the first method is better in all but the first abnormality
    methods = ("gradient", "occlusion")
    scores = summarise(values, [f"p{n // 2}" for n in range(60)], methods=methods, resamples=50)
    sentences = verdicts(scores, methods)
    assert len(sentences) == 2 * 3
    assert "over all it beats random and centre of lung; of 17 abnormalities it beats both in 16" in sentences[0]
    assert sentences[0].endswith(f"and not in {ABNORMALITIES[0]}.")
    assert "DOES NOT BEAT random and centre of lung" in sentences[3]
    document = json.loads(json.dumps(explanation_json(scores, methods, facts={"split": "valid"})))
    assert (document["notice"], document["split"], document["verdicts"]) == (RESEARCH_USE, "valid", sentences)
    assert set(document["found"]) == {ALL, *ABNORMALITIES[:17]}
    content = write_page(scores, methods, notes=["<note>"]).decode()
    assert all(sentence in content for sentence in sentences)
    assert "&lt;note&gt;" in content
