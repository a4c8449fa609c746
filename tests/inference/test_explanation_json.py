"""The document of a scan's saliency maps."""

from __future__ import annotations

import json
from pathlib import Path

from thoracle.inference.explain import Slab
from thoracle.inference.explanation_json import ExplainedFinding, explanation_json, file_stem
from thoracle.inference.localization.measured import Lead, MeasuredFinding, PlaceRate
from thoracle.inference.localization.strongest_place import StrongestPlace
from thoracle.inference.model import load
from thoracle.types import RESEARCH_USE


def test_each_finding_names_its_files_and_its_slices(model_dir: Path) -> None:
    model = load(model_dir)
    layer = Slab(first=3, last=5, middle=4, z_mm=-12.5, fraction=0.75)
    place = StrongestPlace(side="left", lobe="left upper lobe")
    lead = {"dice": Lead(value=0.1, low=-0.1, high=0.3)}
    measured = MeasuredFinding(volumes=3, lead=lead, side=None, lobe=PlaceRate(scans=3, correct=2, atlas_correct=1))
    findings = [
        ExplainedFinding(
            finding="Emphysema", probability=0.5, stem="emphysema-gradient", layers=(layer,), location=place, measured=measured
        ),
        ExplainedFinding(finding="Nodule", probability=0.25, stem="nodule-gradient", layers=(), location=None, measured=None),
    ]
    document = explanation_json(
        findings, model=model, method="gradient", grid=(2, 4, 4), warnings=("Not a chest.",), measured_on="3 volumes"
    )
    assert json.loads(json.dumps(document)) == document
    assert (document["notice"], document["method"], document["grid"]) == (RESEARCH_USE, "gradient", [2, 4, 4])
    assert document["model"] == model.settings()
    assert document["warnings"] == ["Not a chest."]
    emphysema, nodule = document["findings"]
    assert (emphysema["finding"], emphysema["files"]) == ("Emphysema", "emphysema-gradient")
    assert emphysema["slices"] == [{"first": 3, "last": 5, "middle": 4, "z_mm": -12.5, "fraction": 0.75}]
    assert emphysema["place"] == {"side": "left", "lobe": "left upper lobe"}
    assert "lobe right in 2 of 3 phantom scans, 1 by the usual place" in emphysema["place_statement"]
    assert emphysema["lead_statement"] == "no better than where this finding usually lies"
    assert emphysema["measured"]["lead"]["dice"] == {"value": 0.1, "low": -0.1, "high": 0.3, "score": None}
    assert nodule["slices"] == []
    assert (nodule["place"], nodule["measured"]) == (None, None)
    assert nodule["lead_statement"] == "not measured against where it usually lies"
    assert document["measured_on"] == "3 volumes"


def test_findings_of_the_same_letters_have_files_of_their_own() -> None:
    assert file_stem("Pleural effusion", "gradient") == "pleural-effusion-gradient"
    names = [
        "effusion left",
        "effusion (left)",
        "effusion: left",
        "胸腔积液",
        "心包积液",
        "épanchement",
        "panchement",
        "a-b",
        "a b",
        "a  b",
    ]
    stems = [file_stem(name, "gradient") for name in names]
    assert len({*stems}) == len(names)
    assert all(stem.isascii() and "/" not in stem and len(stem) < 60 for stem in stems)
