"""What is kept beside a model of its maps, and the words in which a reader is told of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from thoracle.errors import ModelFolderInvalid
from thoracle.inference.localization.measured import (
    NO_BETTER,
    NOT_MEASURED,
    Lead,
    MeasuredFinding,
    MeasuredMethod,
    PlaceRate,
    lead_statement,
    place_statement,
    read_localization,
    save_localization,
    slice_statement,
)
from thoracle.inference.localization.strongest_place import StrongestPlace
from thoracle.types import RESEARCH_USE

AHEAD, BEHIND = Lead(value=0.2, low=0.1, high=0.3), Lead(value=0.2, low=-0.01, high=0.4)
PLACE = StrongestPlace(side="right", lobe="right lower lobe")


def finding(**leads: Lead) -> MeasuredFinding:
    return MeasuredFinding(volumes=7, lead=leads, side=PlaceRate(scans=5, correct=4, atlas_correct=2), lobe=None)


def test_methods_are_kept_side_by_side(tmp_path: Path) -> None:
    assert read_localization(tmp_path, weights_sha256="a") == {}
    gradient = MeasuredMethod(measured_on="7 phantoms", findings={"Emphysema": finding(dice=replace(AHEAD, score=0.5))})
    attention = MeasuredMethod(measured_on="9 phantoms", findings={"Emphysema": finding(dice=Lead(value=0.0, low=None, high=None))})
    for method, measured in (("gradient", attention), ("attention", attention), ("gradient", gradient)):
        save_localization(tmp_path, weights_sha256="a", method=method, measured=measured)
    assert read_localization(tmp_path, weights_sha256="a") == {"gradient": gradient, "attention": attention}
    document = json.loads((tmp_path / "localization.json").read_text())
    assert document["notice"] == RESEARCH_USE
    with pytest.raises(ModelFolderInvalid, match="other weights"):
        read_localization(tmp_path, weights_sha256="b")


@pytest.mark.parametrize("change", [{"format": "thoracle.localization/0"}, {"methods": {"gradient": {}}}, {"methods": 3}])
def test_what_is_damaged_is_refused(change: dict, tmp_path: Path) -> None:
    save_localization(tmp_path, weights_sha256="a", method="gradient", measured=MeasuredMethod(measured_on="", findings={}))
    path = tmp_path / "localization.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ModelFolderInvalid, match="--save-localization"):
        read_localization(tmp_path, weights_sha256="a")


def test_leads_in_words() -> None:
    assert lead_statement(None) == NOT_MEASURED == "not measured against where it usually lies"
    assert lead_statement(finding(dice=BEHIND, pointing=Lead(value=0.1, low=None, high=None))) == NO_BETTER
    assert NO_BETTER == "no better than where this finding usually lies"
    assert lead_statement(finding(dice=AHEAD, auprc=AHEAD)) == "by dice, auprc better than where this finding usually lies"
    words = "by dice better than where this finding usually lies; by pointing no better than where this finding usually lies"
    assert lead_statement(finding(dice=AHEAD, pointing=BEHIND)) == words


def test_the_strongest_slice_in_words_with_its_rate() -> None:
    assert slice_statement(None) == "how often the strongest slice holds it was not measured"
    assert slice_statement(finding(dice=AHEAD)) == slice_statement(None), "another score says nothing of it"
    ahead = finding(**{"strongest slice": replace(AHEAD, score=0.843)})
    assert (
        slice_statement(ahead) == "the strongest slice holds it in 84% of phantom scans with it: 20 points more than where it usually lies"
    )
    behind = finding(**{"strongest slice": replace(BEHIND, score=0.5)})
    assert slice_statement(behind) == f"the strongest slice holds it in 50% of phantom scans with it: {NO_BETTER}"
    assert slice_statement(finding(**{"strongest slice": BEHIND})) == f"the strongest slice: {NO_BETTER}", "measured before rates were kept"


def test_places_in_words_with_the_rates_of_phantoms() -> None:
    measured = finding(dice=AHEAD)
    side = "side right in 4 of 5 phantom scans, 2 by the usual place"
    assert place_statement("Pleural effusion", PLACE, measured) == f"strongest on the right ({side})"
    words = f"strongest in the right lower lobe ({side}; how often the lobe is right was not measured)"
    assert place_statement("Consolidation", PLACE, measured) == words
    unmeasured = "strongest on the right (how often the side is right was not measured)"
    assert place_statement("Gout", PLACE, None) == unmeasured
    assert "not named" in place_statement("Consolidation", None, measured)
