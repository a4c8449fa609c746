"""What is written of the wording of prompts."""

from __future__ import annotations

import json
import math

from thoracle.evaluation.detection.prompt_report import prompts_json, write_page
from thoracle.evaluation.detection.prompt_study import PromptStudy, PromptTemplates
from thoracle.metrics.bootstrap import Interval
from thoracle.types import RESEARCH_USE


def test_both_forms_have_every_wording_and_what_cannot_be_said_is_null() -> None:
    auroc, none = Interval(value=0.75, low=0.5, high=0.875), Interval(value=math.nan, low=math.nan, high=math.nan)
    study = PromptStudy(macro={"plain": auroc}, by_label={"plain": {"<a>": auroc, "b": none}}, spread={"<a>": 0.25, "b": math.nan})
    wordings = PromptTemplates(templates={"plain": ("{abnormality}.", "No {abnormality}.")}, ensembles={"all": ("plain",)})
    document = prompts_json(study, wordings=wordings, model={"kind": "ct-clip"})
    assert json.loads(json.dumps(document)) == document
    assert document["notice"] == RESEARCH_USE
    assert document["templates"] == {"plain": ["{abnormality}.", "No {abnormality}."]}
    assert document["macro"]["plain"] == {"value": 0.75, "low": 0.5, "high": 0.875}
    assert document["spread"] == {"<a>": 0.25, "b": None}
    content = write_page(study, notes=["A note."]).decode()
    for text in ("A note.", "0.750 (0.500 to 0.875)", "&lt;a&gt;", "confirm it on other patients"):
        assert text in content
