from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

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


def test_a_chest_without_a_model_says_what_to_give(command, sketch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THORACLE_CACHE", str(tmp_path / "cache"))
    ran = command("explain", sketch, "--finding", "Pleural effusion", "--out", tmp_path / "out")
    assert ran.status == 2
    assert "--model" in ran.err
    assert not (tmp_path / "out").exists()
