"""Maps over the API lie in the scan's millimetres, and say what they are worth."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import thoracle
from tests.serving.conftest import Asked
from thoracle.inference.explain import axial_contributions, saliency, token_affine
from thoracle.inference.model import load

NAME = "Pleural effusion"


@pytest.mark.parametrize("method", ["gradient", "occlusion"])
def test_a_map_is_the_library_s_on_its_patches(method: str, asked: Asked, scan: str, model_dir: Path, sketch: Path, tmp_path: Path) -> None:
    asked.done(asked.client.post(f"/scans/{scan}/maps", json={"finding": NAME, "method": method}))
    made = asked.client.get(f"/scans/{scan}/maps/{NAME}").json()
    (tmp_path / "m.nii").write_bytes(gzip.decompress(asked.client.get(f"/scans/{scan}/maps/{NAME}.nii.gz").content))
    image, model, volume = nib.load(tmp_path / "m.nii"), load(model_dir, device="cpu"), thoracle.read(sketch)
    expected = saliency(model, volume, abnormalities=[NAME], method=method)[0]  # type: ignore[arg-type]
    np.testing.assert_allclose(np.asarray(image.dataobj), expected.transpose(1, 2, 0), atol=1e-6)
    np.testing.assert_allclose(np.diag([-1, -1, 1, 1]) @ image.affine, token_affine(volume, model.preprocess, expected.shape), atol=1e-4)
    strongest = axial_contributions(expected, volume, model.preprocess)[0]
    assert (made["method"], made["slice"]["axis"], made["slice"]["index"]) == (method, "axial", strongest.middle)
    assert made["slice"]["mm"][2] == pytest.approx(strongest.z_mm)
    assert made["range"] == pytest.approx([expected.min(), expected.max()], abs=1e-6)
    assert made["sentence"] == "how often the strongest slice holds it was not measured"
    values, affine = np.asarray(image.dataobj), image.affine
    index = np.linalg.inv(affine) @ (*made["slice"]["mm"], 1)
    row = values[:, :, round(index[2])]
    assert row[round(index[0]), round(index[1])] == row.max(), "the place is the strongest of its row"


def test_maps_are_kept_by_method_and_the_last_is_shown(asked: Asked, scan: str) -> None:
    for method in ("occlusion", "gradient"):
        asked.done(asked.client.post(f"/scans/{scan}/maps", json={"finding": NAME, "method": method}))
    assert asked.client.get(f"/scans/{scan}/maps/{NAME}").json()["method"] == "gradient"
    assert asked.client.get(f"/scans/{scan}/maps/{NAME}?method=occlusion").json()["method"] == "occlusion"
    assert asked.client.get(f"/scans/{scan}").json()["maps"] == [NAME]


def test_a_map_that_was_made_is_not_made_again_and_is_the_last(asked: Asked, scan: str) -> None:
    jobs = []
    for method in ("occlusion", "gradient", "occlusion"):
        accepted = asked.client.post(f"/scans/{scan}/maps", json={"finding": NAME, "method": method})
        asked.done(accepted)
        jobs.append(accepted.json()["job"])
    assert jobs[0] == jobs[2] != jobs[1]
    assert asked.client.get(f"/scans/{scan}/maps/{NAME}").json()["method"] == "occlusion"


def test_a_map_that_was_cancelled_is_made_again(asked: Asked, scan: str) -> None:
    body = {"finding": "Emphysema", "method": "occlusion"}
    cancelled = asked.client.post(f"/scans/{scan}/maps", json=body).json()["job"]
    asked.client.delete(f"/jobs/{cancelled}")
    again = asked.client.post(f"/scans/{scan}/maps", json=body)
    assert again.json()["job"] != cancelled
    asked.done(again)


@pytest.mark.parametrize(
    ("body", "status"), [({"finding": "Broken leg"}, 422), ({"finding": NAME, "method": "regions"}, 422), ({}, 422), ({"finding": 3}, 422)]
)
def test_what_no_model_maps_is_refused(body: dict[str, object], status: int, asked: Asked, scan: str) -> None:
    assert asked.client.post(f"/scans/{scan}/maps", json=body).status_code == status


def test_a_map_that_was_not_made_is_not_there(asked: Asked, scan: str) -> None:
    for path in (NAME, f"{NAME}.nii.gz", "Broken leg"):
        assert asked.client.get(f"/scans/{scan}/maps/{path}").status_code == 409
