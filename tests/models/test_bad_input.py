"""Bad input to every family: one clear error each, for names of a newer release, shards, tokenizers, other spacings and scans too small."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import thoracle
from tests.cli.test_verbs_of_families import MODELS
from tests.ct.recipes.test_run import volume_of
from tests.models.tiny_configs import CONFIGS, installed
from tests.training.cohorts import write_cohort
from thoracle.ct.preprocess import PreprocessConfig, Preprocessing
from thoracle.ct.recipes.recipe import ResampleToSpacing, ResizeByArea
from thoracle.errors import CapabilityMissing, CheckpointIncomplete, CheckpointUnknown, IndexMismatch, InputError, TokenizerMissing
from thoracle.inference.model import Model
from thoracle.models.bundle.import_published import import_checkpoint
from thoracle.models.bundle.model_folder import save_model
from thoracle.models.encoder import Capability
from thoracle.models.registry import REGISTRY, models_with
from thoracle.search.indexing import index_settings

_HEADS = {"bert": {"num_attention_heads": 4}}
#: Kinds that are imported, and what tensors of such sizes do not say. (A CT-CLIP with a classifier is a LiPro.)
IMPORTED: dict[str, dict[str, Any]] = {
    "ct-clip": {**_HEADS, "n_frames": 60},
    "ct-clip-classifier": {**_HEADS, "n_frames": 60},
    "ctvit": {"ctvit": {"image_size": 120}, "n_frames": 60},
    "colipri": {**_HEADS, "heads": 2, "pooler_heads": 4, "input_shape": [60, 120, 120]},
    "merlin": {},
    "text-classifier": _HEADS,
    "chat-projector": {},
}


def published(kind: str) -> dict[str, Tensor]:
    torch.manual_seed(0)
    prefix = "model.mm_projector." if kind == "chat-projector" else ""
    return {prefix + name: tensor.clone() for name, tensor in REGISTRY[kind].build(CONFIGS[kind]).state_dict().items()}


def test_every_kind_that_is_imported_is_here() -> None:
    """SPECTRE's files are in models/spectre."""
    assert {*IMPORTED, "spectre"} == {kind for kind, spec in REGISTRY.items() if spec.key_pattern}


@pytest.mark.parametrize("kind", IMPORTED)
def test_names_of_a_newer_release_are_told(kind: str, tmp_path: Path) -> None:
    tensors = published(kind)
    parent = max(tensors, key=len).rpartition(".")[0]
    torch.save({**tensors, f"{parent}.gate": torch.zeros(3)}, tmp_path / "newer.pt")
    with pytest.raises(CheckpointIncomplete, match=rf"looks like .*left over 1: (\S*\.)?{re.escape(parent.rpartition('.')[2])}\.gate"):
        import_checkpoint(tmp_path / "newer.pt", out=tmp_path / "model", config=IMPORTED[kind])
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("kind", IMPORTED)
def test_shards_are_one_model_with_their_index_and_none_without(kind: str, tmp_path: Path) -> None:
    tensors = published(kind)
    torch.save(tensors, tmp_path / "whole.pt")
    expected = import_checkpoint(tmp_path / "whole.pt", out=tmp_path / "model", config=IMPORTED[kind]).folder.weights_sha256
    names, shards = sorted(tensors), tmp_path / "shards"
    files = {f"model-0000{part + 1}-of-00002.safetensors": names[part::2] for part in range(2)}
    shards.mkdir()
    for file, parts in files.items():
        save_file({name: tensors[name] for name in parts}, shards / file)
    index = shards / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {name: file for file, parts in files.items() for name in parts}}))
    for source in (shards, index):
        report = import_checkpoint(source, out=tmp_path / "again", config=IMPORTED[kind])
        assert report.folder.weights_sha256 == expected
    with pytest.raises((CheckpointIncomplete, CheckpointUnknown), match=r"missing|of no published model"):
        import_checkpoint(shards / next(iter(files)), out=tmp_path / "part", config=IMPORTED[kind])
    (shards / max(files)).unlink()
    with pytest.raises(CheckpointIncomplete, match=r"names 1 files that are not there: model-00002-of-00002\.safetensors"):
        import_checkpoint(shards, out=tmp_path / "part", config=IMPORTED[kind])
    assert not (tmp_path / "part").exists()


@pytest.mark.parametrize("kind", IMPORTED)
def test_a_tokenizer_that_is_not_there_is_refused(kind: str, tmp_path: Path) -> None:
    torch.save(published(kind), tmp_path / "file.pt")
    with pytest.raises(TokenizerMissing, match=r"holds neither vocab\.txt, nor vocab\.json with merges\.txt, nor tokenizer\.json"):
        import_checkpoint(tmp_path / "file.pt", out=tmp_path / "model", config=IMPORTED[kind], tokenizer=tmp_path / "absent")
    assert not (tmp_path / "model").exists()


@pytest.fixture(params=installed(MODELS))
def model(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    """Random weights of a family, without a tokenizer."""
    monkeypatch.setenv("THORACLE_CACHE", str(tmp_path / "cache"))
    kind, config, recipe = MODELS[request.param]
    spec = REGISTRY[kind]
    torch.manual_seed(0)
    return thoracle.load(
        save_model(
            tmp_path / "model", kind=kind, config=config, preprocess=recipe, labels=spec.labels(config),
            tensors=spec.build(config).state_dict(), tokenizer=None, licence="none", trained=False,
        ).path,
        device="cpu",
    )  # fmt: skip


def test_words_without_a_tokenizer_are_refused_with_what_to_fetch(model: Model) -> None:
    if Capability.TEXT not in model.capabilities:
        with pytest.raises(CapabilityMissing, match=f"Give a {models_with(Capability.TEXT)} model"):
            model.encode_text(["effusion"])
        return
    rules = model.folder.spec.text_rules
    with pytest.raises(TokenizerMissing, match=f"{rules.tokenizer_files}.*thoracle fetch {rules.tokenizer} .*--tokenizer DIR"):
        model.encode_text(["effusion"])


def test_a_cohort_of_another_spacing_is_refused(model: Model, tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path / "cohort", _at_another_spacing(model.preprocess), volumes=3)
    with pytest.raises(IndexMismatch, match=r"prepared with another preprocessing than the model's.*prepare --preprocess MODEL"):
        index_settings(model, cohort, None)


def _at_another_spacing(recipe: Preprocessing) -> Preprocessing:
    if isinstance(recipe, PreprocessConfig):
        return replace(recipe, spacing=(7.0, 3.0, 3.0))
    if isinstance(recipe.resampling, ResampleToSpacing):
        return replace(recipe, resampling=replace(recipe.resampling, spacing=(9.0, 8.0, 8.0)))
    if isinstance(recipe.resampling, ResizeByArea):
        return replace(recipe, foreground=None)
    return replace(recipe, resampling=ResampleToSpacing(spacing=(1.0, 1.0, 1.0), grid="centred"))


def test_an_array_smaller_than_a_tile_is_refused_and_a_scan_is_padded(model: Model) -> None:
    size = model.preprocess.size
    small = np.zeros((size[0] // 2, *size[1:]), np.float32)
    with pytest.raises(InputError, match=rf"expected a preprocessed volume of shape .*{re.escape(str(size))}, got"):
        model.to_model_input(small).input_array(model.preprocess)
    array = np.random.default_rng(0).integers(-1000, 400, (12, 14, 10)).astype(np.int16)
    with torch.inference_mode():
        volume = model.to_model_input(volume_of(array, (3.0, 3.0, 3.0)))
        assert volume.array.shape == size
        tokens = model.encoder.encode_volume(torch.from_numpy(volume.array)[None, None]).tokens
    assert bool(tokens.isfinite().all())
