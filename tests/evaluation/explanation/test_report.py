"""What is written of maps: what is no better than an atlas is said not to be, in the page as in the document."""

from __future__ import annotations

import json

import numpy as np

from thoracle.evaluation.explanation.evaluate import ATLASES, CEILING, LUNG_CENTRE, sources
from thoracle.evaluation.explanation.report import explanation_json, verdicts, write_page
from thoracle.evaluation.explanation.summary import ALL, measured_method, summarise
from thoracle.metrics.localization import METRICS
from thoracle.types import ABNORMALITIES, RESEARCH_USE

MAPS = sources("gradient")


def test_verdicts_name_what_leads_nothing_and_stand_in_both_documents() -> None:
    random = np.random.default_rng(0)
    values = np.full((60, len(MAPS), 18, len(METRICS)), np.nan)  # the last abnormality is in no mask
    values[:, :, :17] = random.uniform(0.2, 0.4, (60, len(MAPS), 17, len(METRICS)))
    values[:, 0, 1:17] += 0.3  # the method is better in all but the first abnormality
    values[:, MAPS.index(LUNG_CENTRE), :17, 1] += 1.0
    values[:, MAPS.index(ATLASES[1]), :17, 4] += 0.5
    correct = np.full((60, 2, 18, 2), np.nan)
    correct[:8, :, 3, 1] = 1.0
    scores = summarise(values, [f"p{n // 2}" for n in range(60)], method="gradient", resamples=50)
    measured = measured_method(scores, correct, measured_on="60 volumes")
    sentences = verdicts(scores, "gradient")
    assert len(sentences) == len(METRICS)
    assert sentences[0].startswith("gradient, pointing: over all better than where findings usually lie, by 0.2")
    assert f"better for 16 of 17 abnormalities, and not for {ABNORMALITIES[0]}." in sentences[0]
    assert "DOES NOT BEAT" not in sentences[0]
    assert sentences[1].endswith("It DOES NOT BEAT centre of lung over all.")
    assert "over all NO BETTER THAN where findings usually lie, by -0.2" in sentences[4]
    assert "better for 0 of 17" in sentences[4]
    document = json.loads(json.dumps(explanation_json(scores, "gradient", measured=measured, facts={"split": "valid"})))
    assert (document["notice"], document["split"], document["verdicts"]) == (RESEARCH_USE, "valid", sentences)
    assert set(document["found"]) == {ALL, *ABNORMALITIES[:17]}
    fourth = document["found"][ABNORMALITIES[3]]
    assert (fourth["side"], fourth["lobe"]) == (None, {"scans": 8, "correct": 8, "atlas_correct": 8})
    assert set(fourth["scores"]["dice"]) == set(MAPS)
    content = write_page(scores, "gradient", measured=measured, notes=["<note>"]).decode()
    assert all(sentence in content for sentence in sentences)
    assert "&lt;note&gt;" in content
    assert "no better" in content
    assert CEILING in content
    assert "Side and lobe of the strongest place" in content
