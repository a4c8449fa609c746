"""LiPro: published weights of positives, a head that learns, a folder as the published file, bits that resume."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from tests.training.memory_volumes import LabelledMemoryVolumes
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.inference.explain import saliency
from thoracle.inference.model import load
from thoracle.models.bundle.import_published import import_checkpoint
from thoracle.models.bundle.model_folder import ModelFolder, load_state_dict, open_model, save_model
from thoracle.models.common.losses import positive_weights
from thoracle.models.ctclip.model import CTCLIP
from thoracle.training.engine.config import OptimizerConfig
from thoracle.training.engine.distributed import World
from thoracle.training.engine.trainer import Trainer
from thoracle.training.finetuning.classifier import (
    ClassifierTask,
    LabelledBatch,
    clip_weights,
    collate_features,
    collate_volumes,
)
from thoracle.training.finetuning.classifier_run import ClassifierEvaluator
from thoracle.training.finetuning.config import ClassifierConfig
from thoracle.training.finetuning.frozen_features import FeatureDataset, FrozenSample
from thoracle.types import ABNORMALITIES

ALONE = World(rank=0, size=1, device=torch.device("cpu"))


@pytest.fixture
def start(steps: ModuleType, tmp_path: Path) -> ModelFolder:
    """A random CT-CLIP without a tokenizer, which LiPro needs none of."""
    torch.manual_seed(0)
    return save_model(
        tmp_path / "start",
        kind="ct-clip",
        config=steps.MODEL,
        preprocess=PreprocessConfig(size=(20, 40, 40)),
        labels=ABNORMALITIES,
        tensors=CTCLIP(steps.MODEL).state_dict(),
        tokenizer=None,
        licence="",
        trained=False,
        caution="Knows only noise.",
    )


@pytest.fixture(scope="module")
def latents() -> FeatureDataset:
    """Labels that a linear map of the positive part of latents tells."""
    generator = torch.Generator().manual_seed(0)
    rows = F.normalize(torch.randn(200, 16, generator=generator), dim=1)
    scores = rows.relu() @ torch.randn(16, 18, generator=generator)
    labels = (scores > scores.quantile(0.7, dim=0)).float()
    labels[3, 5] = torch.nan
    return FeatureDataset(rows, labels, [f"v{index}" for index in range(200)])


def config(out: Path, **more: object) -> ClassifierConfig:
    optimizer = OptimizerConfig(lr=3e-2, max_grad_norm=1.0, warmup_steps=2)
    return ClassifierConfig(
        out=str(out), **{"steps": 6, "batch_size": 20, "num_workers": 0, "save_every": 1, "optimizer": optimizer, **more}
    )


def trainer(told: ClassifierConfig, latents: FeatureDataset, start: ModelFolder, *, resume: bool = False) -> Trainer:
    weights = positive_weights(latents.labels_VK)
    return Trainer(
        told,
        latents,
        ALONE,
        task=lambda _: ClassifierTask(told, ALONE, start=start, weights_K=weights),
        collate=lambda _: collate_features,
        resume=resume,
        evaluate=lambda task: ClassifierEvaluator(task, latents, config=told),
    )


def test_it_learns_and_its_folder_detects_with_the_encoder_it_began_with(
    latents: FeatureDataset, start: ModelFolder, tmp_path: Path
) -> None:
    told = config(tmp_path / "run", steps=300, save_every=300, eval_every=300, disclaimer="Knows only noise.")
    done = list(trainer(told, latents, start).run())
    assert done[-1].scores["macro_auroc"] > 0.95
    assert len(done[-1].scores) == 19
    model = load(tmp_path / "run" / "model", device="cpu")
    assert (model.folder.kind, model.folder.trained) == ("ct-clip-classifier", False)
    before, after = load_state_dict(start), clip_weights(model.folder)
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    volume = torch.randn(20, 40, 40, generator=torch.Generator().manual_seed(1))
    findings = model.detect(volume)
    head = load_state_dict(model.folder)
    logits = model.encode_volume(volume).latent_BL.relu() @ head["classifier.weight"].T + head["classifier.bias"]
    assert findings.probabilities == pytest.approx(logits.sigmoid()[0].tolist(), abs=1e-6)
    assert findings.warnings == ("Knows only noise.",)


def test_its_loss_is_torchs_with_the_published_weights(latents: FeatureDataset, start: ModelFolder, tmp_path: Path) -> None:
    task = ClassifierTask(config(tmp_path), ALONE, start=start, weights_K=positive_weights(latents.labels_VK))
    task.network.head.dropout.p = 0.0
    batch = collate_features([latents[index] for index in range(10)])
    logits, labels = task.network.head(batch.given_B), batch.labels_BK
    total, count = 0.0, 0
    for number in range(18):
        column = latents.labels_VK[:, number]
        weight = (column == 0).sum() / (column == 1).sum()
        known = ~labels[:, number].isnan()
        total += float(
            F.binary_cross_entropy_with_logits(logits[known, number], labels[known, number], pos_weight=weight, reduction="sum").detach()
        )
        count += int(known.sum())
    assert count == 179
    assert task.accumulate_gradients([batch]).item() == pytest.approx(total / count, rel=1e-5)
    assert task.accumulate_gradients([batch, batch]).item() == pytest.approx(total / count, rel=1e-5)


def test_stopped_and_resumed_the_weights_are_bit_equal(latents: FeatureDataset, start: ModelFolder, tmp_path: Path) -> None:
    list(trainer(config(tmp_path / "whole"), latents, start).run())
    for progress in trainer(config(tmp_path / "parts"), latents, start).run():
        if progress.step == 3:
            break
    list(trainer(config(tmp_path / "parts"), latents, start, resume=True).run())
    whole, parts = (load_state_dict(open_model(tmp_path / name / "model")) for name in ("whole", "parts"))
    assert all(torch.equal(tensor, parts[name]) for name, tensor in whole.items())


def test_a_published_lipro_is_gone_on_from(golden_dir: Path, tmp_path: Path) -> None:
    published = golden_dir / "published"
    sizes = json.loads((published / "ctclip_config.json").read_text())
    folder = import_checkpoint(published / "lipro_checkpoint.pt", out=tmp_path / "lipro", config=sizes).folder
    assert folder.kind == "ct-clip-classifier"
    task = ClassifierTask(config(tmp_path), ALONE, start=folder, weights_K=torch.ones(18))
    expected = load_file(published / "ctclip_expected.safetensors")
    with torch.no_grad():
        torch.testing.assert_close(task.network.head.eval()(expected["image_latents"]), expected["lipro_logits"], atol=1e-5, rtol=0)


#: What learns, and by whose names in the exported folder: a prefix of each.
VARIANTS = {
    "pool": ({"slice_pool": "attention"}, ("trained_model.slices.", "classifier.")),
    "labels": (
        {"head": "label-attention"},
        ("labels", "pos_embed_", "norms.", "cross_attention.", "mlp.", "weight", "bias"),
    ),
    "labels that meet": (
        {"head": "label-attention", "label_self_attention": True},
        ("labels", "pos_embed_", "norms.", "cross_attention.", "self_attention.", "self_norm.", "mlp.", "weight", "bias"),
    ),
    "lora": (
        {"encoder": "lora", "lora_rank": 2},
        ("trained_model.visual_transformer.enc_", "trained_model.to_visual_latent.", "classifier."),
    ),
    "lora labels": (
        {"encoder": "lora", "head": "label-attention"},
        (
            "trained_model.visual_transformer.enc_",
            "labels",
            "pos_embed_",
            "norms.",
            "cross_attention.",
            "mlp.",
            "weight",
            "bias",
        ),
    ),
    "full": (
        {"encoder": "full", "slice_pool": "attention"},
        (
            "trained_model.visual_transformer.",
            "trained_model.to_visual_latent.",
            "trained_model.slices.",
            "trained_model.pool.",
            "classifier.",
        ),
    ),
}


@pytest.fixture(params=["mean", "grid"])
def either(request: pytest.FixtureRequest, steps: ModuleType, tmp_path: Path) -> ModelFolder:
    """Random CT-CLIPs whose latents are read from codes, and from what they were before."""
    torch.manual_seed(0)
    model = replace(steps.MODEL, spatial_pool=request.param)
    facts = {"labels": ABNORMALITIES, "tokenizer": None, "licence": "", "trained": False}
    size = PreprocessConfig(size=(20, 40, 40))
    return save_model(tmp_path / "either", kind="ct-clip", config=model, preprocess=size, tensors=CTCLIP(model).state_dict(), **facts)


def given(told: ClassifierConfig, start: ModelFolder, volumes: torch.Tensor) -> torch.Tensor:
    """What the run is given of these volumes."""
    if told.features == "volumes":
        return volumes
    clip = CTCLIP(start.config).eval()
    clip.load_state_dict(load_state_dict(start))
    with torch.no_grad():
        encoded = clip.visual_transformer(volumes)
        return clip.pooling_tokens(encoded) if clip.pool is not None else encoded.indices_BN.view(encoded.tokens_BTHWD.shape[:-1])


def dataset(told: ClassifierConfig, start: ModelFolder, volumes: torch.Tensor, labels: torch.Tensor) -> Any:
    """What the run is trained on."""
    if told.volumes_at_once:
        return LabelledMemoryVolumes(volumes, labels)
    return FeatureDataset(given(told, start, volumes), labels, [f"v{index}" for index in range(len(volumes))])


def collate(told: ClassifierConfig) -> Callable[..., LabelledBatch]:
    return collate_volumes if told.volumes_at_once else collate_features


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_should_learn_does_and_the_folder_answers_as_the_task(either: ModelFolder, tmp_path: Path, variant: str) -> None:
    settings, prefixes = VARIANTS[variant]
    told = config(tmp_path / "run", steps=8, save_every=8, eval_every=8, batch_size=4, disclaimer="Knows only noise.", **settings)
    volumes = torch.randn(8, 1, 20, 40, 40, generator=torch.Generator().manual_seed(1))
    labels = (torch.rand(8, 18, generator=torch.Generator().manual_seed(2)) < 0.5).float()
    data = dataset(told, either, volumes, labels)
    run = Trainer(
        told,
        data,
        ALONE,
        task=lambda _: ClassifierTask(told, ALONE, start=either, weights_K=torch.ones(18)),
        collate=lambda _: collate(told),
        evaluate=lambda task: ClassifierEvaluator(task, data, config=told),
    )
    assert len(list(run.run())[-1].scores) == 19
    model = load(tmp_path / "run" / "model", device="cpu")
    assert (model.folder.config.slice_pool, model.folder.config.head) == (
        "attention" if told.slice_pool == "attention" else "mean",
        told.head,
    )
    before = {f"trained_model.{name}": tensor for name, tensor in load_state_dict(either).items()}
    after = load_state_dict(model.folder)
    moved = {name for name, tensor in after.items() if name not in before or not torch.equal(before[name], tensor)}
    assert all(name.startswith(prefixes) for name in moved), sorted(moved)
    there = {prefix for prefix in prefixes if any(name.startswith(prefix) for name in after)}
    assert {prefix for prefix in there if any(name.startswith(prefix) for name in moved)} == there
    assert not any("codebook" in name for name in moved)
    with torch.no_grad():
        expected = run.task.network.eval()(given(told, either, volumes)).sigmoid()
    for index in (0, 5):
        found = model.detect(volumes[index, 0])
        assert found.probabilities == pytest.approx(expected[index].tolist(), abs=1e-5)
        assert found.warnings == ("Knows only noise.",)
    assert len(saliency(model, volumes[0, 0], abnormalities=ABNORMALITIES[:2], method="gradient")) == 2


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_gradient_reaches_all_that_learns_and_nothing_else(either: ModelFolder, tmp_path: Path, variant: str) -> None:
    told = config(tmp_path, **VARIANTS[variant][0])
    task = ClassifierTask(told, ALONE, start=either, weights_K=torch.ones(18))
    volumes = torch.randn(2, 1, 20, 40, 40, generator=torch.Generator().manual_seed(1))
    rows = [FrozenSample(features=row, labels_K=torch.ones(18), name="") for row in given(told, either, volumes)]
    codes = task.network.clip.visual_transformer.codes.embed.clone()
    task.accumulate_gradients([collate_features(rows)])
    learning = {id(parameter) for parameter in task.trainable_parameters()}
    assert learning
    for name, parameter in task.network.named_parameters():
        assert (parameter.grad is not None) == (id(parameter) in learning), name  # with none left out, which ranks would wait for
    assert torch.equal(task.network.clip.visual_transformer.codes.embed, codes)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_resumes_to_the_bit(start: ModelFolder, tmp_path: Path, variant: str) -> None:
    volumes = torch.randn(8, 1, 20, 40, 40, generator=torch.Generator().manual_seed(1))
    labels = (torch.rand(8, 18, generator=torch.Generator().manual_seed(2)) < 0.5).float()

    def run(name: str, *, resume: bool = False) -> Trainer:
        told = config(tmp_path / name, steps=4, batch_size=4, **VARIANTS[variant][0])
        data = dataset(told, start, volumes, labels)
        task = lambda _: ClassifierTask(told, ALONE, start=start, weights_K=torch.ones(18))  # noqa: E731
        return Trainer(told, data, ALONE, task=task, collate=lambda _: collate(told), resume=resume)

    list(run("whole").run())
    for progress in run("parts").run():
        if progress.step == 2:
            break
    list(run("parts", resume=True).run())
    whole, parts = (load_state_dict(open_model(tmp_path / name / "model")) for name in ("whole", "parts"))
    assert all(torch.equal(tensor, parts[name]) for name, tensor in whole.items())


@pytest.mark.parametrize("settings", [{"slice_pool": "attention"}, {"encoder": "lora"}, {"encoder": "full"}])
def test_lipro_is_gone_on_from_as_it_is(latents: FeatureDataset, start: ModelFolder, tmp_path: Path, settings: dict) -> None:
    list(trainer(config(tmp_path / "run"), latents, start).run())
    lipro, told = open_model(tmp_path / "run" / "model"), config(tmp_path / "next", **settings)
    task = ClassifierTask(told, ALONE, start=lipro, weights_K=torch.ones(18))
    volume = torch.randn(1, 1, 20, 40, 40, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = task.network.eval()(given(told, start, volume))
    assert load(lipro.path, device="cpu").detect(volume[0, 0]).probabilities == pytest.approx(logits.sigmoid()[0].tolist(), abs=1e-5)


def test_an_unknown_label_teaches_nothing(start: ModelFolder, tmp_path: Path) -> None:
    told = config(tmp_path, head="label-attention")
    volumes = torch.randn(2, 1, 20, 40, 40, generator=torch.Generator().manual_seed(1))
    labels = torch.ones(2, 18)
    labels[:, 7] = torch.nan
    task = ClassifierTask(told, ALONE, start=start, weights_K=torch.ones(18))
    rows = given(told, start, volumes)
    samples = [FrozenSample(features=row, labels_K=label, name="") for row, label in zip(rows, labels, strict=True)]
    task.accumulate_gradients([collate_features(samples)])
    moved = task.network.head.weight.grad.abs().sum(dim=1) > 0
    assert moved.tolist() == [column != 7 for column in range(18)]
    assert all(p.grad is None for p in task.network.clip.parameters())
