"""ONNX answers as the model does, whatever head reads its tokens and whatever they are; what cannot be asked is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from thoracle.ct.preprocess import PreprocessConfig
from thoracle.errors import CapabilityMissing, ExtraMissing
from thoracle.inference.calibration import Calibration, LabelCalibration, save_calibration
from thoracle.inference.export import onnx
from thoracle.inference.export.onnx import onnx_detect, onnx_model, quantize_onnx
from thoracle.inference.model import load
from thoracle.models.bundle.model_folder import open_model, save_model
from thoracle.models.ctclip.config import CTViTConfig
from thoracle.models.registry import REGISTRY
from thoracle.models.text.tokenizer import Tokenizer


def random(
    like: Path, out: Path, kind: str, *, tokenizer: Tokenizer | None = None, preprocess: PreprocessConfig | None = None, **options: object
) -> Path:
    """A model with the sizes of another but for `options`, of random weights."""
    before = open_model(like)
    config = before.config.ctvit if kind == "ctvit" else replace(before.config, **options)
    generator = torch.Generator().manual_seed(0)
    tensors = {name: torch.randn(shape, generator=generator) * 0.1 for name, shape in REGISTRY[kind].weight_shapes(config).items()}
    facts = {
        "preprocess": preprocess or before.preprocess,
        "labels": before.labels,
        "tokenizer": tokenizer,
        "licence": "",
        "trained": False,
    }
    return save_model(out, kind=kind, config=config, tensors=tensors, **facts).path


GRID = {"spatial_pool": "grid"}
LABELS = {"head": "label-attention", "label_self_attention": True}


@pytest.mark.parametrize(
    "options", [GRID | {"slice_pool": "attention"}, pytest.param(GRID | LABELS, marks=pytest.mark.slow)], ids=["grid", "labels"]
)
def test_a_classifier_answers_as_it_does(model_dir: Path, tmp_path: Path, options: dict) -> None:
    model = load(random(model_dir, tmp_path / "model", "ct-clip-classifier", **options), device="cpu")
    answer = onnx_detect(onnx_model(model))
    volumes = np.random.default_rng(0).uniform(-1, 1, (2, *model.preprocess.size)).astype(np.float32)
    rows = [answer(volume) for volume in volumes]
    assert np.abs(np.subtract(*rows)).max() > 1e-4
    for volume, row in zip(volumes, rows, strict=True):
        np.testing.assert_allclose(row, model.detect(volume).probabilities, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("spatial_pool", ["mean", "grid"])
def test_linear_maps_compute_in_int8_and_nothing_else_does(model_dir: Path, tmp_path: Path, spatial_pool: str) -> None:
    onnx_library = pytest.importorskip("onnx")
    tokenizer = open_model(model_dir).tokenizer()
    model = load(random(model_dir, tmp_path / "model", "ct-clip", tokenizer=tokenizer, spatial_pool=spatial_pool), device="cpu")
    exact = onnx_model(model)
    small = quantize_onnx(exact)
    nodes = onnx_library.load_model_from_string(small).graph.node
    kinds = [node.op_type for node in nodes]
    # A layer has to_q, to_kv, to_out, two halves up and one down; the embedding of patches and the projection come beside them.
    ctvit = model.folder.config.ctvit
    assert kinds.count("MatMulInteger") >= 6 * (ctvit.spatial_depth + ctvit.temporal_depth) + 2
    codes = {"mean": 1, "grid": 0}[spatial_pool]  # with a grid pool nothing reads them
    searches = -(-model.folder.config.steps * ctvit.grid**2 // 512) * codes
    attention = 2 * (ctvit.spatial_depth + ctvit.temporal_depth)
    assert kinds.count("MatMul") == attention + searches + 1  # the last is with the prompts
    volume = np.random.default_rng(0).uniform(-1, 1, model.preprocess.size).astype(np.float32)
    difference = np.abs(np.subtract(onnx_detect(small)(volume), onnx_detect(exact)(volume)))
    assert 0 < difference.max() < 0.05


@pytest.mark.manual
def test_a_graph_of_ct_clips_size_loads_and_agrees(model_dir: Path, tmp_path: Path) -> None:
    """Minutes, and 6 GB of memory. Its text encoder, of which a graph holds nothing, is small."""
    sizes = {"ctvit": CTViTConfig(), "n_frames": 240, "dim_latent": 512}
    facts = {"tokenizer": open_model(model_dir).tokenizer(), "preprocess": PreprocessConfig()}
    model = load(random(model_dir, tmp_path / "model", "ct-clip-classifier", **facts, **sizes), device="cpu")
    content = onnx_model(model)
    volume = np.random.default_rng(0).uniform(-1, 1, model.preprocess.size).astype(np.float32)
    exact = onnx_detect(content)(volume)
    np.testing.assert_allclose(exact, model.detect(volume).probabilities, atol=1e-5)
    assert np.std(exact) > 1e-3, "answers differ by more than they may be off"
    small = quantize_onnx(content)
    assert len(small) < 0.35 * len(content)
    np.testing.assert_allclose(onnx_detect(small)(volume), exact, atol=0.05)


@pytest.mark.slow
def test_labels_calibrated_together_are_in_the_graph(model_dir: Path, tmp_path: Path) -> None:
    """The last label hears of the first two; the others are left as they are."""
    folder = random(model_dir, tmp_path / "model", "ct-clip-classifier")
    described = open_model(folder)
    first, second, *_, last = described.labels
    plain = LabelCalibration(slope=1.0, offset=0.0, rule_in_at=0.5, rule_out_at=0.5)
    mendings = {first: plain, second: plain, last: replace(plain, slope=2.0, offset=-1.0, others={first: 1.5, second: -0.5})}
    facts = {"weights_sha256": described.weights_sha256, "prompts": described.prompts, "method": "joint", "coverage": 0.9}
    save_calibration(folder, Calibration(**facts, fitted_on="noise", mendings=mendings))
    model = load(folder, device="cpu")
    volume = np.random.default_rng(0).uniform(-1, 1, model.preprocess.size).astype(np.float32)
    row, raw = onnx_detect(onnx_model(model))(volume), model.detect(volume, calibrated=False).probabilities
    np.testing.assert_allclose(row, model.detect(volume).probabilities, atol=1e-5)
    assert abs(row[-1] - raw[-1]) > 0.01
    np.testing.assert_allclose(row[:-1], raw[:-1], atol=1e-5)


def test_an_encoder_alone_has_nothing_to_answer(model_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(CapabilityMissing, match="findings"):
        onnx_model(load(random(model_dir, tmp_path / "model", "ctvit"), device="cpu"))


def test_a_model_of_regions_is_told_more_than_a_volume(regions_dir: Path) -> None:
    with pytest.raises(CapabilityMissing, match="where each scan's lungs are") as refused:
        onnx_model(load(regions_dir, device="cpu"))
    assert refused.value.hint.startswith("Use `thoracle detect`")


def test_a_missing_extra_is_named(model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(onnx, "import_module", missing)
    with pytest.raises(ExtraMissing, match="onnx is not installed"):
        onnx_model(load(model_dir, device="cpu"))
