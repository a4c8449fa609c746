"""Every verb on a model of every family, with a recipe of its own: prepared, encoded, found, detected, exported, or refused by name."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.cli.conftest import Command
from tests.cli.families import MODELS, write_encoder
from tests.models.tiny_configs import installed
from thoracle.cli import export
from thoracle.cohort.manifest import open_cohort
from thoracle.ct.recipes.published import COLIPRI
from thoracle.inference.latents import read_latents
from thoracle.models.bundle.model_folder import open_model
from thoracle.models.encoder import Capability
from thoracle.models.registry import REGISTRY, models_with

_FINDINGS = (Capability.ZERO_SHOT, Capability.LABELS, Capability.REGIONS)


@pytest.fixture(scope="module")
def archive(sketch: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two chests, the second with fluid on the right; split valid, each with a label."""
    folder = tmp_path_factory.mktemp("archive")
    shutil.copy(sketch, folder / "a.nii.gz")
    image = nib.load(sketch)
    voxels = np.asanyarray(image.dataobj).copy()
    lower = voxels[:64, :, :44]  # the right half, from the feet up
    lower[lower < -700] = 20
    nib.save(nib.Nifti1Image(voxels, image.affine), folder / "b.nii.gz")
    (folder / "scans.csv").write_text(
        "path,patient,split,Pleural effusion,findings\na.nii.gz,p,valid,0,Clear lungs.\nb.nii.gz,q,valid,1,Fluid on the right.\n"
    )
    return folder


@pytest.fixture(params=installed(MODELS))
def family(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Random weights of a family."""
    monkeypatch.setenv("THORACLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(export, "MOST_LOST", 1.0)  # of untrained models on two scans, AUROC is noise
    return write_encoder(tmp_path / "model", *MODELS[request.param]).path


def test_verbs_take_the_family_or_refuse_it_by_name(command: Command, family: Path, archive: Path, tmp_path: Path) -> None:
    folder = open_model(family)
    cohort, can = tmp_path / "cohort", folder.capabilities
    ran = command("prepare", archive, "--layout", "folder", "--keep-identifiers", "--preprocess", family, "--out", cohort, "--workers", 1)
    assert ran.status == 0, ran.err
    _detects(command, family, archive, tmp_path)
    if Capability.LATENTS not in can:
        for verb in (("embed", archive, "--out", tmp_path / "l.parquet"), ("index", cohort, "--out", tmp_path / "index")):
            ran = command(*verb, "--model", family)
            assert ran.status != 0
            assert f"Give a {models_with(Capability.LATENTS)} model" in ran.err
        return
    _embeds_in_batches(command, family, archive, tmp_path)
    _finds(command, family, cohort, archive, tmp_path)
    ran = command("export", family, "--bf16", "--cohort", cohort, "--out", tmp_path / "small")
    assert ran.status == 0, ran.err
    small = open_model(tmp_path / "small", verify=True)
    assert (small.kind, small.config, small.preprocess) == (folder.kind, folder.config, folder.preprocess)
    assert small.weights_bytes < 0.9 * folder.weights_bytes


def _detects(command: Command, family: Path, archive: Path, out: Path) -> None:
    folder = open_model(family)
    ran = command("detect", archive / "a.nii.gz", "--model", family, "--json", out / "findings.json")
    if folder.capabilities.isdisjoint(_FINDINGS):
        assert ran.status != 0
        assert f"Give a {models_with(*_FINDINGS)} model" in ran.err
        return
    assert ran.status == 0, ran.err
    findings = json.loads((out / "findings.json").read_text())
    together = command("detect", archive, "--model", family, "--out", out / "many.csv", "--batch-size", 2)
    assert together.status == 0, together.err
    header, *rows = (out / "many.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["a.nii.gz", "b.nii.gz"]
    columns = header.split(",")
    assert set(folder.labels) <= set(columns)
    alone = [finding["probability"] for finding in findings["findings"]]
    row = dict(zip(columns, rows[0].split(","), strict=True))
    np.testing.assert_allclose([float(row[label]) for label in folder.labels], alone, atol=1e-5)


def _embeds_in_batches(command: Command, family: Path, archive: Path, out: Path) -> None:
    scans = (archive / "a.nii.gz", archive / "b.nii.gz")
    assert command("embed", *scans, "--model", family, "--out", out / "one.parquet").status == 0
    ran = command("embed", *scans, "--model", family, "--out", out / "two.parquet", "--tokens", out / "tokens", "--batch-size", 2)
    assert ran.status == 0, ran.err
    one, two = read_latents(out / "one.parquet"), read_latents(out / "two.parquet")
    assert one.names == two.names == ("a.nii.gz", "b.nii.gz")
    np.testing.assert_allclose(two.array, one.array, atol=1e-5)
    assert np.abs(one.array[0] - one.array[1]).max() > 1e-4
    assert sorted(path.name for path in (out / "tokens").iterdir()) == ["a.nii.gz.safetensors", "b.nii.gz.safetensors"]


def _finds(command: Command, family: Path, cohort: Path, archive: Path, out: Path) -> None:
    ran = command("index", cohort, "--model", family, "--out", out / "index", "--keep-identifiers", "--batch-size", 2)
    assert ran.status == 0, ran.err
    ran = command("search", out / "index", "--scan", archive / "b.nii.gz", "--json", out / "hits.json")
    assert ran.status == 0, ran.err
    best = json.loads((out / "hits.json").read_text())["hits"][0]
    assert best["volume"] == "b.nii.gz"
    assert best["score"] > 0.95  # the cohort's voxels are whole HU, which may be other codes
    reads = Capability.TEXT in open_model(family).capabilities
    reports = ("--reports", "--id-column", "path", "--text-column", "findings", "--out", out / "reports.parquet")
    for verb in (
        ("search", out / "index", "--text", "pleural effusion"),
        ("embed", archive / "scans.csv", "--model", family, *reports),
        ("evaluate", "retrieval", out / "index", "--out", out / "retrieval", "--resamples", 20),
    ):
        ran = command(*verb)
        assert (ran.status == 0) == reads, (verb, ran.err)
        assert reads or f"Give a {models_with(Capability.TEXT)} model" in ran.err
    if reads:
        texts = read_latents(out / "reports.parquet")
        assert texts.names == ("a.nii.gz", "b.nii.gz")
        np.testing.assert_allclose(np.linalg.norm(texts.array, axis=1), 1, atol=1e-5)


def test_an_imported_files_catalogue_name_stands_for_it(
    command: Command, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THORACLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    prepare = ("prepare", archive, "--layout", "folder", "--keep-identifiers", "--workers", 1, "--preprocess", "colipri")
    ran = command(*prepare, "--out", tmp_path / "none")
    assert ran.status != 0
    assert "colipri" in ran.err
    kind, config, _ = MODELS["colipri"]
    (tmp_path / "download").mkdir()
    torch.manual_seed(0)
    save_file(REGISTRY[kind].build(config).state_dict(), tmp_path / "download" / "model.safetensors")
    sizes = {"heads": 2, "pooler_heads": 4, "input_shape": config.input_shape, "bert": {"num_attention_heads": 4}}
    (tmp_path / "sizes.json").write_text(json.dumps(sizes))
    ran = command("import", tmp_path / "download" / "model.safetensors", "--out", tmp_path / "models" / "c", "--config", "sizes.json")
    assert ran.status == 0, ran.err
    ran = command(*prepare, "--out", tmp_path / "cohort")
    assert ran.status == 0, ran.err
    recipe = open_cohort(tmp_path / "cohort").preprocess
    assert recipe == open_model(tmp_path / "models" / "c").preprocess == replace(COLIPRI, fit=replace(COLIPRI.fit, size=(48, 40, 40)))
    ran = command("index", tmp_path / "cohort", "--model", "colipri", "--out", tmp_path / "index", "--keep-identifiers")
    assert ran.status == 0, ran.err
