"""Every kind of model does what its capabilities say, refuses the rest by name, and comes back from its own export.

A kind that is added to the registry fails here until it has a configuration in `tiny_configs.CONFIGS`, and everything below holds of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import thoracle
from tests.models.tiny_configs import CONFIGS, SIZES, installed
from tests.models.toy_family import LABELS, SIZE, TOY, Toy, ToyConfig
from thoracle.cohort.demographics import Demographics
from thoracle.cohort.reports import Report
from thoracle.ct.chest.input_box import InputBox
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.errors import CapabilityMissing, CheckpointUnknown, InputError, OutsideIntendedUse
from thoracle.inference.explain import saliency
from thoracle.inference.model import Model
from thoracle.inference.prepare import PreparedVolume
from thoracle.inference.requested_findings import Finding
from thoracle.models.bundle.import_published import import_checkpoint
from thoracle.models.bundle.model_folder import ModelFolder, load_state_dict, open_model, save_model
from thoracle.models.common.prompts import format_prompts
from thoracle.models.encoder import Capability
from thoracle.models.registry import REGISTRY, models_with, spec_of
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.models.weights.checkpoint import read_checkpoint
from thoracle.search.local.index import LocalIndex, open_for_writing
from thoracle.search.record import Filters, IndexedVolume, Record

WORDS = Tokenizer.from_words(format_prompts())
UNQUANTIZED = replace(CONFIGS["ctvit"], quantize=False)


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The throw-away family stands in the registry for one test."""
    monkeypatch.setitem(REGISTRY, TOY.kind, TOY)


def test_every_registered_kind_has_a_tiny_configuration_here() -> None:
    assert {*CONFIGS, TOY.kind} == set(REGISTRY)


def made(kind: str, out: Path) -> ModelFolder:
    """A folder of random weights."""
    name, _, variant = kind.partition(" ")
    config = CONFIGS.get(name, ToyConfig())
    if variant:
        config = replace(config, ctvit=UNQUANTIZED) if name != "ctvit" else UNQUANTIZED
    torch.manual_seed(0)
    return exported(REGISTRY[name].build(config), config, out)


def exported(module: nn.Module, config: Any, out: Path) -> ModelFolder:
    spec = spec_of(module)
    volumes = PreprocessConfig(size={**SIZES, "toy": SIZE}.get(spec.kind, (60, 120, 120)))
    return save_model(
        out,
        kind=spec.kind,
        config=config,
        preprocess=volumes if Capability.VOLUMES in spec.capabilities(config) else None,
        labels=spec.labels(config),
        tensors=module.state_dict(),
        tokenizer=WORDS if spec.text_rules else None,
        licence="none",
        trained=False,
    )


@pytest.mark.parametrize(
    "kind", installed([*CONFIGS, TOY.kind, *(f"{kind} unquantized" for kind in ("ct-clip", "ct-clip-classifier", "ctvit"))])
)
def test_a_family_keeps_the_contract(kind: str, tmp_path: Path) -> None:
    folder = made(kind, tmp_path / "model")
    again = folder.spec.build(folder.config)
    again.load_state_dict(load_state_dict(open_model(tmp_path / "model", verify=True)))
    assert exported(again, folder.config, tmp_path / "again").weights_sha256 == folder.weights_sha256
    if Capability.VOLUMES not in folder.capabilities:
        with pytest.raises(CapabilityMissing, match=f"Give a {models_with(Capability.VOLUMES)} model"):
            thoracle.load(tmp_path / "model")
        return
    model = thoracle.load(tmp_path / "model", device="cpu")
    scan = np.random.default_rng(0).uniform(-1, 1, model.preprocess.size).astype(np.float32)
    _encodes(model, scan)
    _detects_or_refuses(model, scan)
    _is_found_or_refuses(model, scan, tmp_path / "index")
    _refuses_by_name(model)


def _encodes(model: Model, scan: np.ndarray) -> None:
    encoder, can = model.encoder, model.capabilities
    with torch.inference_mode():
        embedding = encoder.encode_volume(torch.from_numpy(scan)[None, None])
    assert embedding.tokens.shape[-1] == encoder.outputs.token_dim
    assert (embedding.latent_BL is not None) == (Capability.LATENTS in can) == (encoder.outputs.latent_dim is not None)
    assert (embedding.codes is not None) == (embedding.codebook_indices is not None) == (Capability.CODES in can)
    assert (embedding.logits_BK is not None) == (Capability.LABELS in can)
    if embedding.latent_BL is not None:
        assert embedding.latent_BL.shape == (1, model.dim_latent)
        assert embedding.latent_BL.norm().item() == pytest.approx(1, abs=1e-5)
        torch.testing.assert_close(encoder.project_tokens(embedding.tokens), embedding.latent_BL)
    assert (embedding.patch_latents is not None) == (Capability.PATCH_LATENTS in can)
    if embedding.patch_latents is not None:
        assert embedding.patch_latents.shape == (*embedding.tokens.shape[:4], model.dim_latent)
    assert (embedding.tokens.dim() == 5) == (Capability.TOKEN_GRID in can)
    if Capability.TOKEN_GRID in can:
        assert embedding.tokens.shape == (1, *encoder.token_grid(scan.shape), encoder.outputs.token_dim)
    if Capability.SALIENCY in can:
        with torch.inference_mode():
            tokens = encoder.encode_patches(encoder.embed_patches(torch.from_numpy(scan)[None, None]))
        torch.testing.assert_close(tokens, embedding.tokens)


@pytest.mark.parametrize(
    "kind",
    [
        *("colipri", "merlin", "medfinder", "image-text", "token-classifier", "regions", TOY.kind),
        *(f"{kind} unquantized" for kind in ("ct-clip", "ct-clip-classifier", "ctvit")),
    ],
)
def test_a_token_stands_where_its_voxels_are(kind: str, tmp_path: Path) -> None:
    """Noise in one part of the input moves the token of that part most: axes are neither swapped nor mirrored."""
    folder = made(kind, tmp_path / "model")
    model = thoracle.load(folder.path, device="cpu")
    grid = model.encoder.token_grid(folder.preprocess.size)
    generator = np.random.default_rng(1)
    before = generator.normal(0, 0.1, folder.preprocess.size).astype(np.float32)
    tokens = model.encode_tokens(before).tokens[0]
    assert tokens.shape[:3] == grid
    for place in ((0, grid[1] - 1, grid[2] // 2), (grid[0] - 1, grid[1] // 2, 0)):
        parts = tuple(
            slice(round(at * side / count), round((at + 1) * side / count))
            for at, side, count in zip(place, before.shape, grid, strict=True)
        )
        after = before.copy()
        after[parts] += generator.normal(0, 1, after[parts].shape).astype(np.float32)
        moved = (model.encode_tokens(after).tokens[0] - tokens).norm(dim=-1)
        assert np.unravel_index(int(moved.argmax()), grid) == place


def _detects_or_refuses(model: Model, scan: np.ndarray) -> None:
    can, giving = model.capabilities, (Capability.LABELS, Capability.ZERO_SHOT, Capability.REGIONS)
    if can.isdisjoint(giving):
        with pytest.raises(CapabilityMissing, match=f"Give a {models_with(*giving)} model"):
            model.detect(scan)
        return
    if Capability.REGIONS in can:
        _reads_regions(model, scan)
        return
    findings = model.detect(scan)
    assert findings.abnormalities == model.folder.labels == model.folder.spec.labels(model.folder.config)
    assert all(0 <= probability <= 1 for probability in findings.probabilities)
    if Capability.LABELS in can:
        logits = model.encode_volume(scan).logits_BK
        assert findings.probabilities == pytest.approx(logits[0].sigmoid().tolist(), abs=1e-6)
        with pytest.raises(InputError, match="does not know"):
            model.detect(scan, abnormalities=["Gout"])
        with pytest.raises(CapabilityMissing, match="not prompted"):
            model.prompt_latents()
    else:
        assert len(model.detect(scan, abnormalities=["Gout", Finding(name="Mass", prompts=("A mass.", "No mass."))]).probabilities) == 2
        assert model.logit_scale() > 0


def _reads_regions(model: Model, scan: np.ndarray) -> None:
    with pytest.raises(OutsideIntendedUse, match="no lungs were found"):
        model.detect(scan)
    box = InputBox(low=(0.1, 0.1, 0.1), high=(0.9, 0.9, 0.9), encloses="lungs")
    prepared = PreparedVolume(array=scan, provenance=None, warnings=(), box=box)
    for words in ("Gout", Finding(name=model.folder.labels[0], prompts=("a", "b"))):
        with pytest.raises(InputError, match="does not know"):
            model.detect(prepared, abnormalities=[words])
    findings = model.detect(prepared)
    assert findings.abnormalities == model.folder.labels == model.folder.spec.labels(model.folder.config)
    assert all(0 <= probability <= 1 for probability in findings.probabilities)


def _is_found_or_refuses(model: Model, scan: np.ndarray, place: Path) -> None:
    if Capability.LATENTS not in model.capabilities:
        with pytest.raises(CapabilityMissing, match=f"Give a {models_with(Capability.LATENTS)} model"):
            model.volume_latent(scan)
        return
    latents = [model.volume_latent(volume) for volume in (scan, -scan)]
    settings = model.settings() | {"dim_latent": model.dim_latent, "key": None}
    with open_for_writing(place, settings) as index:
        index.add([IndexedVolume(record=_record(number), latent_L=latent) for number, latent in enumerate(latents)])
    matches = LocalIndex(place).vector_search(latents[1], k=2, filters=Filters())
    assert LocalIndex(place).records([matches[0][0]])[matches[0][0]].volume == "v1"
    assert matches[0][1] == pytest.approx(1, abs=1e-5)


def _record(number: int) -> Record:
    return Record(
        volume=f"v{number}", scan=f"s{number}", accession="a", patient="p", split="test", report=Report(findings="", impression=""),
        labels=(None,) * 18, facts=Demographics(), source_sha256=f"f{number}", voxels_sha256=f"x{number}",
    )  # fmt: skip


def _refuses_by_name(model: Model) -> None:
    blank = np.zeros(model.preprocess.size, np.float32)
    calls: dict[Capability, Callable[[], object]] = {
        Capability.TEXT: lambda: model.encode_text(["words"]),
        Capability.TOKEN_GRID: lambda: model.encode_tokens(blank),
        Capability.ZERO_SHOT: model.logit_scale,
        Capability.SALIENCY: lambda: saliency(model, blank, abnormalities=model.folder.labels[:1], method="gradient"),
        Capability.PATCH_LATENTS: lambda: saliency(model, blank, abnormalities=model.folder.labels[:1], method="similarity"),
    }
    for capability, call in calls.items():
        if capability not in model.capabilities:
            with pytest.raises(CapabilityMissing, match=f"Give a {models_with(capability)} model"):
                call()


def test_hints_are_what_the_registry_says() -> None:
    assert models_with(Capability.LATENTS) == "CT-CLIP, COLIPRI, Merlin, SPECTRE, MedFinder, LiPro, image-text, token-classifier or Toy"
    assert models_with(Capability.CODES) == "CT-CLIP, LiPro or CTViT"
    grids = "CT-CLIP, COLIPRI, Merlin, MedFinder, LiPro, CTViT, image-text, token-classifier, regions or Toy"
    assert models_with(Capability.TOKEN_GRID) == grids
    assert models_with(Capability.SALIENCY) == "CT-CLIP, COLIPRI, LiPro, image-text or token-classifier"
    assert models_with(Capability.PATCH_LATENTS) == "COLIPRI"
    assert models_with(Capability.REGIONS) == "regions"


def test_two_published_files_become_one_folder(tmp_path: Path) -> None:
    torch.manual_seed(3)
    source = Toy(ToyConfig(width=5, labels=2))
    torch.save(source.backbone.state_dict(), tmp_path / "backbone.pt")
    torch.save(source.combiner.state_dict(), tmp_path / "combiner.pt")
    report = import_checkpoint(tmp_path, out=tmp_path / "model")
    assert (report.folder.kind, report.folder.config, report.folder.labels) == ("toy", ToyConfig(width=5, labels=2), LABELS[:2])
    assert report.folder.preprocess == PreprocessConfig(size=SIZE)
    assert all(torch.equal(tensor, source.state_dict()[name]) for name, tensor in load_state_dict(report.folder).items())
    first = report.folder.source_sha256
    torch.save({name: tensor + 1 for name, tensor in read_checkpoint(tmp_path / "combiner.pt").items()}, tmp_path / "combiner.pt")
    assert import_checkpoint(tmp_path, out=tmp_path / "model").folder.source_sha256 != first
    (tmp_path / "combiner.pt").unlink()
    with pytest.raises(InputError, match="not a file"):
        import_checkpoint(tmp_path, out=tmp_path / "other")
    with pytest.raises(CheckpointUnknown, match="a toy"):
        import_checkpoint(tmp_path / "backbone.pt", out=tmp_path / "other")


def test_a_tokenizer_is_refused_by_a_model_that_reads_no_text(tmp_path: Path) -> None:
    source = Toy(ToyConfig())
    torch.save(source.backbone.state_dict(), tmp_path / "backbone.pt")
    torch.save(source.combiner.state_dict(), tmp_path / "combiner.pt")
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "vocab.txt").write_bytes(WORDS.files["vocab.txt"])
    with pytest.raises(InputError, match="reads no text"):
        import_checkpoint(tmp_path, out=tmp_path / "model", tokenizer=tmp_path / "words")


def test_a_module_of_no_kind_is_not_exported_under_anothers() -> None:
    class Other(Toy):
        """Like a toy, and not one."""

    with pytest.raises(CapabilityMissing, match="Other is of no registered kind"):
        spec_of(Other(ToyConfig()))
