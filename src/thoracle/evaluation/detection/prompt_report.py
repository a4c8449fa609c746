"""Write how AUROC moves with the wording of prompts, as prompts.json and as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from thoracle.evaluation.detection.prompt_study import PromptStudy, PromptTemplates
from thoracle.evaluation.html.page import figure, heading, page, paragraph, table, with_bounds
from thoracle.evaluation.html.plain_json import plain_json
from thoracle.evaluation.html.plots import dots
from thoracle.types import RESEARCH_USE

_WARNING: Final = "The wording that scores best here was chosen by these labels: confirm it on other patients before you report it."


def prompts_json(study: PromptStudy, *, wordings: PromptTemplates, model: Mapping[str, Any]) -> dict[str, Any]:
    """Build the document of prompts.json, with null for NaN; `model` names the model."""
    settings = {"templates": dict(wordings.templates), "ensembles": dict(wordings.ensembles), "model": dict(model)}
    document: dict[str, Any] = plain_json({"notice": RESEARCH_USE, **settings, **asdict(study)})
    return document


def write_page(study: PromptStudy, *, notes: Sequence[str]) -> bytes:
    """Draw AUROC of each wording, over all labels and of each, as HTML."""
    rows = [
        [label, *(with_bounds(aurocs[label].value, aurocs[label].low, aurocs[label].high) for aurocs in study.by_label.values()), spread]
        for label, spread in study.spread.items()
    ]
    parts = [
        *map(paragraph, notes),
        paragraph(_WARNING),
        heading("All labels together"),
        figure(dots(list(study.macro), {"macro AUROC": list(study.macro.values())}, x="macro AUROC", reference=0.5)),
        heading("Each label"),
        table(["", *study.by_label, "highest minus lowest, single templates"], rows),
    ]
    return page("Wording of prompts", parts)
