"""COLIPRI's published file, from import to findings, as the published pipeline gives them; and files that are refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import thoracle
from thoracle.ct.recipes.orientation import ZXY, view_as
from thoracle.ct.recipes.published import COLIPRI as RECIPE
from thoracle.errors import CheckpointDamaged, CheckpointIncomplete, InputError, TokenizerMissing
from thoracle.inference.explain import saliency
from thoracle.models.bundle.import_published import ImportReport, import_checkpoint
from thoracle.models.bundle.model_folder import load_state_dict
from thoracle.models.colipri.config import ColipriConfig
from thoracle.models.colipri.spec import COLIPRI


@pytest.fixture(scope="session")
def sizes(colipri_dir: Path) -> dict[str, Any]:
    """What tensors do not say, as --config takes it."""
    published = json.loads((colipri_dir / "tiny_config.json").read_text())
    settings = {name: published[name] for name in ("heads", "pooler_heads", "input_shape")}
    return settings | {"bert": {"num_attention_heads": published["text"]["num_attention_heads"]}}


@pytest.fixture(scope="session")
def words(colipri_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("words")
    (folder / "vocab.txt").write_bytes((colipri_dir / "tiny_vocab.txt").read_bytes())
    return folder


@pytest.fixture
def report(colipri_dir: Path, sizes: dict[str, Any], words: Path, tmp_path: Path) -> ImportReport:
    return import_checkpoint(colipri_dir / "tiny_model.safetensors", out=tmp_path / "model", config=sizes, tokenizer=words)


def test_the_published_file_comes_through(colipri_dir: Path, report: ImportReport) -> None:
    published = load_file(colipri_dir / "tiny_model.safetensors")
    assert report.dropped == ("image_encoder.backbone.mask_token",)
    weights = load_state_dict(report.folder)
    assert weights.keys() == published.keys() - {*report.dropped}
    assert all(torch.equal(tensor, published[name]) for name, tensor in weights.items())
    assert report.folder.preprocess == replace(RECIPE, fit=replace(RECIPE.fit, size=(32, 24, 40)))
    assert "config.axes is RAS" in report.assumptions


def test_published_findings_maps_and_text(report: ImportReport, expected: dict[str, Tensor]) -> None:
    model = thoracle.load(report.folder.path, device="cpu")
    lung_nodules = ("Lung nodules",)
    findings = model.detect(expected["pipeline.input"][0].numpy(), abnormalities=lung_nodules)
    assert findings.probabilities == pytest.approx([expected["pipeline.probability"][1].item()], rel=1e-5)
    dense = view_as(expected["dense_similarity"][0].numpy(), RECIPE.axes, ZXY)
    maps = saliency(model, expected["image.input"][0, 0].numpy(), abnormalities=lung_nodules, method="similarity")
    np.testing.assert_allclose(maps[0], (dense[1] - dense[0]) / 0.07, rtol=1e-4, atol=1e-4)
    text = model.encode_text(["There is a right pleural effusion, and consolidation in the left lower lobe. Cardiomegaly."])
    torch.testing.assert_close(text[0], expected["text.embedding"][2], rtol=1e-5, atol=1e-6)


def test_a_scan_goes_the_published_way(report: ImportReport, expected: dict[str, Tensor], data_dir: Path) -> None:
    """The scan and the spacing of the published pipeline's vectors."""
    (scan,) = data_dir.rglob("cip_ct-64.nrrd")
    recipe = replace(report.folder.preprocess, resampling=replace(RECIPE.resampling, spacing=(10.0, 10.0, 10.0)))
    array = thoracle.preprocess(thoracle.read(scan), recipe)
    torch.testing.assert_close(torch.from_numpy(array), expected["pipeline.input"][0], rtol=0, atol=1e-6)
    findings = thoracle.load(report.folder.path, device="cpu").detect(array, abnormalities=("Lung nodules",))
    assert findings.probabilities == pytest.approx([expected["pipeline.probability"][1].item()], rel=1e-4)


def test_published_sizes_follow_from_shapes_alone() -> None:
    guess = COLIPRI.infer_config(COLIPRI.weight_shapes(ColipriConfig()), {})
    assert guess.config == ColipriConfig()
    assert guess.preprocess == RECIPE
    assert {"config.heads is 12", "config.pooler_heads is 12", "config.text_pooling is valid"} < {*guess.assumptions}


def test_the_package_of_old_gave_other_axes_and_pooled_padding(colipri_dir: Path, sizes: dict[str, Any], tmp_path: Path) -> None:
    old = sizes | {"axes": "SAR", "text_pooling": "all"}
    folder = import_checkpoint(colipri_dir / "tiny_model.safetensors", out=tmp_path / "m", config=old).folder
    assert folder.preprocess.axes == "SAR"
    assert folder.config.text_pooling == "all"


@pytest.mark.parametrize(
    ("left_out", "message"),
    [("heads", "number of heads is not in the tensors"), ("pooler_heads", "number of pooler_heads"), ("bert", "number of BERT heads")],
)
def test_heads_of_other_widths_must_be_said(colipri_dir: Path, sizes: dict[str, Any], tmp_path: Path, left_out: str, message: str) -> None:
    with pytest.raises(CheckpointIncomplete, match=message):
        import_checkpoint(
            colipri_dir / "tiny_model.safetensors",
            out=tmp_path / "m",
            config={name: value for name, value in sizes.items() if name != left_out},
        )


def _changed(colipri_dir: Path, tmp_path: Path, *, add: dict[str, Tensor] | None = None, only: str = "") -> Path:
    tensors = {name: tensor for name, tensor in load_file(colipri_dir / "tiny_model.safetensors").items() if name.startswith(only)}
    save_file(tensors | (add or {}), tmp_path / "file.safetensors")
    return tmp_path / "file.safetensors"


def test_names_of_a_newer_release_are_refused(colipri_dir: Path, sizes: dict[str, Any], tmp_path: Path) -> None:
    file = _changed(colipri_dir, tmp_path, add={"image_encoder.backbone.eva.blocks.0.registers": torch.zeros(4)})
    with pytest.raises(CheckpointIncomplete, match=r"left over 1: image_encoder\.backbone\.eva\.blocks\.0\.registers"):
        import_checkpoint(file, out=tmp_path / "m", config=sizes)


def test_a_temperature_that_was_rounded_is_refused(colipri_dir: Path, sizes: dict[str, Any], tmp_path: Path) -> None:
    """The package's `load_weights` makes 0 of 0.07."""
    file = _changed(colipri_dir, tmp_path, add={"softmax_temperature": torch.tensor(0)})
    with pytest.raises(CheckpointDamaged, match=r"softmax_temperature holds torch\.int64"):
        import_checkpoint(file, out=tmp_path / "m", config=sizes)


def test_names_behind_a_wrapper_are_unwrapped(colipri_dir: Path, sizes: dict[str, Any], report: ImportReport, tmp_path: Path) -> None:
    tensors = load_file(colipri_dir / "tiny_model.safetensors")
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in tensors.items()}}, tmp_path / "file.pt")
    wrapped = import_checkpoint(tmp_path / "file.pt", out=tmp_path / "wrapped", config=sizes)
    assert wrapped.unwrapped == ("module.",)
    assert wrapped.folder.weights_sha256 == report.folder.weights_sha256


@pytest.mark.parametrize("prefix", ["image_encoder.", "encoder.", "model.encoder."])
def test_heads_of_others_on_its_image_encoder_are_refused_by_name(colipri_dir: Path, tmp_path: Path, prefix: str) -> None:
    """RevCT's layout is published nowhere; any that holds the encoder is told what is missing."""
    tensors = load_file(colipri_dir / "tiny_model.safetensors")
    image = {prefix + name.removeprefix("image_encoder."): tensor for name, tensor in tensors.items() if name.startswith("image_encoder.")}
    save_file(image | {"head.weight": torch.zeros(18, 48)}, tmp_path / "file.safetensors")
    with pytest.raises(CheckpointIncomplete, match=r"no text encoder.*head\.weight|no text encoder.*RevCT") as refusal:
        import_checkpoint(tmp_path / "file.safetensors", out=tmp_path / "m")
    assert "published nowhere" in str(refusal.value)


def test_one_of_several_files_is_refused(colipri_dir: Path, sizes: dict[str, Any], tmp_path: Path) -> None:
    file = _changed(colipri_dir, tmp_path, only="image_encoder.backbone.")
    with pytest.raises(CheckpointIncomplete, match="no text encoder"):
        import_checkpoint(file, out=tmp_path / "m", config=sizes)


def test_words_need_the_tokenizer(colipri_dir: Path, sizes: dict[str, Any], tmp_path: Path) -> None:
    folder = import_checkpoint(colipri_dir / "tiny_model.safetensors", out=tmp_path / "m", config=sizes).folder
    with pytest.raises(TokenizerMissing, match=r"thoracle fetch cxr-bert"):
        thoracle.load(folder.path, device="cpu").detect(torch.zeros(32, 24, 40))


def test_an_array_of_another_size_is_refused(report: ImportReport) -> None:
    with pytest.raises(InputError, match=r"expected a preprocessed volume of shape \(32, 24, 40\)"):
        thoracle.load(report.folder.path, device="cpu").detect(torch.zeros(32, 32, 40))
