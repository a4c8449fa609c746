from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from thoracle.inference.localization.measured import Lead, MeasuredFinding, MeasuredMethod, PlaceRate, save_localization
from thoracle.models.bundle.model_folder import open_model
from thoracle.models.citations import CT_CLIP
from thoracle.types import RESEARCH_USE


@pytest.mark.parametrize("method", ["gradient", "occlusion"])
def test_a_finding_is_explained_where_it_lies(
    command, model_dir: Path, sketch: Path, tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("thoracle.inference.explain._MOST_BOXES", 8)
    out = tmp_path / "out"
    ran = command("explain", sketch, "--finding", "Pleural effusion", "--out", out, "--model", model_dir, "--method", method)
    assert ran.status == 0, ran.err
    assert RESEARCH_USE in ran.out
    assert "UNTRAINED" in ran.out
    assert "of what speaks for it: slices" in ran.out
    heat, scan = nib.load(out / f"pleural-effusion-{method}.nii.gz"), nib.load(sketch)
    corners = np.array([[0, 0, 0, 1], [*(n - 1 for n in heat.shape), 1]])
    ends = np.sort(corners @ heat.affine.T, axis=0), np.sort(corners @ scan.affine.T, axis=0)
    np.testing.assert_allclose(*ends, atol=1e-3)
    assert np.isfinite(heat.get_fdata()).all()
    assert (out / f"pleural-effusion-{method}.png").read_bytes().startswith(b"\x89PNG")
    facts = json.loads((out / "explanation.json").read_text())
    assert facts["notice"] == RESEARCH_USE
    assert facts["findings"][0]["slices"][0]["fraction"] > 0
    statement = "not measured against where it usually lies"
    assert statement in ran.out.lower()
    assert facts["findings"][0]["lead_statement"] == statement
    page = (out / "explanation.html").read_text()
    assert f"To be cited: {CT_CLIP}." in page
    assert statement in page.lower()
    assert RESEARCH_USE in page
    assert "UNTRAINED" in page


def test_maps_by_region_are_shown_as_others_are(command, regions_dir: Path, sketch: Path, tmp_path: Path) -> None:
    asked = ("explain", sketch, "--finding", "Pleural effusion", "--out", tmp_path / "out", "--model", regions_dir)
    ran = command(*asked, "--method", "regions")
    assert ran.status == 0, ran.err
    heat, scan = nib.load(tmp_path / "out" / "pleural-effusion-regions.nii.gz"), nib.load(sketch)
    assert heat.shape == scan.shape
    np.testing.assert_allclose(np.abs(heat.affine), np.abs(scan.affine), atol=1e-3)
    assert heat.get_fdata().max() > 0
    document = json.loads((tmp_path / "out" / "explanation.json").read_text())
    assert (document["method"], document["grid"]) == ("regions", [6, 6, 6])
    assert document["findings"][0]["place"]["side"] in ("right", "left")
    assert document["findings"][0]["place"]["lobe"] is None, "an effusion lies in no lobe"
    assert "Strongest on the" in ran.out
    ran = command(*asked)
    assert ran.status != 0
    assert "--method regions" in ran.err


def test_what_was_measured_is_said_of_the_finding_and_method_that_it_was_measured_of(
    command, model_dir: Path, sketch: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(model_dir, model)
    lead = {"dice": Lead(value=0.1, low=-0.1, high=0.2)}
    finding = MeasuredFinding(volumes=9, lead=lead, side=PlaceRate(scans=8, correct=7, atlas_correct=4), lobe=None)
    measured = MeasuredMethod(measured_on="9 volumes of phantoms", findings={"Pleural effusion": finding})
    save_localization(model, weights_sha256=open_model(model).weights_sha256, method="gradient", measured=measured)
    names = ("--finding", "Pleural effusion", "--finding", "Gout")
    ran = command("explain", sketch, *names, "--out", tmp_path / "out", "--model", model)
    assert ran.status == 0, ran.err
    document = json.loads((tmp_path / "out" / "explanation.json").read_text())
    effusion, gout = document["findings"]
    assert effusion["lead_statement"] == "no better than where this finding usually lies"
    assert gout["lead_statement"] == "not measured against where it usually lies"
    assert document["measured_on"] == "9 volumes of phantoms"
    for text in (ran.out, (tmp_path / "out" / "explanation.html").read_text()):
        assert "No better than where this finding usually lies." in text
        assert "Not measured against where it usually lies." in text
        if effusion["place"] is not None:
            assert "side right in 7 of 8 phantom scans, 4 by the usual place" in text
    (model / "localization.json").write_text("{}")
    ran = command("explain", sketch, *names, "--out", tmp_path / "out", "--model", model)
    assert ran.status != 0
    assert "--save-localization" in ran.err


def test_a_chest_without_a_model_says_what_to_give(command, sketch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THORACLE_CACHE", str(tmp_path / "cache"))
    ran = command("explain", sketch, "--finding", "Pleural effusion", "--out", tmp_path / "out")
    assert ran.status == 2
    assert "--model" in ran.err
    assert not (tmp_path / "out").exists()
