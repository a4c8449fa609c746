"""LiPro: published weights of positives, a head that learns, a folder as the published file, bits that resume."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from thoracle.ct.preprocess import PreprocessConfig
from thoracle.errors import InputError
from thoracle.inference.model import load
from thoracle.models.ctclip import CTCLIP
from thoracle.models.folder import ModelFolder, load_tensors, open_model, save_model
from thoracle.models.losses import positive_weights
from thoracle.models.published import import_checkpoint
from thoracle.training.classifier import ClassifierConfig, ClassifierTask, LatentScores, clip_tensors, collate_latents
from thoracle.training.config import OptimiserConfig
from thoracle.training.distributed import World
from thoracle.training.frozen import LatentData
from thoracle.training.trainer import Trainer
from thoracle.types import ABNORMALITIES

ALONE = World(rank=0, size=1, device=torch.device("cpu"))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """As in the trainer's tests: bits depend on the number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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
def latents() -> LatentData:
    """Labels that a linear map of the positive part of latents tells."""
    generator = torch.Generator().manual_seed(0)
    rows = F.normalize(torch.randn(200, 16, generator=generator), dim=1)
    scores = rows.relu() @ torch.randn(16, 18, generator=generator)
    labels = (scores > scores.quantile(0.7, dim=0)).float()
    labels[3, 5] = torch.nan
    return LatentData(rows, labels, [f"v{index}" for index in range(200)])


def config(out: Path, **more: object) -> ClassifierConfig:
    optimiser = OptimiserConfig(lr=3e-2, clip=1.0, warmup=2)
    return ClassifierConfig(out=str(out), **{"steps": 6, "batch": 20, "workers": 0, "save_every": 1, "optimiser": optimiser, **more})


def trainer(told: ClassifierConfig, latents: LatentData, start: ModelFolder, *, resume: bool = False) -> Trainer:
    weights = positive_weights(latents.labels_VK)
    return Trainer(
        told,
        latents,
        ALONE,
        task=lambda _: ClassifierTask(told, ALONE, start=start, weights_K=weights),
        collate=lambda _: collate_latents,
        resume=resume,
        evaluate=lambda task: LatentScores(task, latents),
    )


def test_it_learns_and_its_folder_detects_with_the_encoder_it_began_with(latents: LatentData, start: ModelFolder, tmp_path: Path) -> None:
    told = config(tmp_path / "run", steps=300, save_every=300, evaluate_every=300, caution="Knows only noise.")
    done = list(trainer(told, latents, start).run())
    assert done[-1].scores["macro_auroc"] > 0.95
    assert len(done[-1].scores) == 19
    model = load(tmp_path / "run" / "model", device="cpu")
    assert (model.folder.kind, model.folder.trained) == ("ct-clip-classifier", False)
    before, after = load_tensors(start), clip_tensors(model.folder)
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    volume = torch.randn(20, 40, 40, generator=torch.Generator().manual_seed(1))
    findings = model.detect(volume)
    head = load_tensors(model.folder)
    logits = model.encode_volume(volume).latent_BL.relu() @ head["classifier.weight"].T + head["classifier.bias"]
    assert findings.probabilities == pytest.approx(logits.sigmoid()[0].tolist(), abs=1e-6)
    assert findings.warnings == ("Knows only noise.",)


def test_its_loss_is_torchs_with_the_published_weights(latents: LatentData, start: ModelFolder, tmp_path: Path) -> None:
    task = ClassifierTask(config(tmp_path), ALONE, start=start, weights_K=positive_weights(latents.labels_VK))
    task.head.dropout.p = 0.0
    batch = collate_latents([latents[index] for index in range(10)])
    logits, labels = task.head(batch.latent_BL), batch.labels_BK
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
    assert task.backward([batch]).item() == pytest.approx(total / count, rel=1e-5)
    assert task.backward([batch, batch]).item() == pytest.approx(total / count, rel=1e-5)


def test_stopped_and_resumed_the_weights_are_bit_equal(latents: LatentData, start: ModelFolder, tmp_path: Path) -> None:
    list(trainer(config(tmp_path / "whole"), latents, start).run())
    for progress in trainer(config(tmp_path / "parts"), latents, start).run():
        if progress.step == 3:
            break
    list(trainer(config(tmp_path / "parts"), latents, start, resume=True).run())
    whole, parts = (load_tensors(open_model(tmp_path / name / "model")) for name in ("whole", "parts"))
    assert all(torch.equal(tensor, parts[name]) for name, tensor in whole.items())


def test_a_published_lipro_is_gone_on_from(golden_dir: Path, tmp_path: Path) -> None:
    published = golden_dir / "published"
    sizes = json.loads((published / "ctclip_config.json").read_text())
    folder = import_checkpoint(published / "lipro_checkpoint.pt", out=tmp_path / "lipro", config=sizes).folder
    assert folder.kind == "ct-clip-classifier"
    task = ClassifierTask(config(tmp_path), ALONE, start=folder, weights_K=torch.ones(18))
    expected = load_file(published / "ctclip_expected.safetensors")
    with torch.no_grad():
        torch.testing.assert_close(task.head.eval()(expected["image_latents"]), expected["lipro_logits"], atol=1e-5, rtol=0)


def test_a_run_without_a_model_is_refused() -> None:
    with pytest.raises(InputError, match="needs a model"):
        ClassifierConfig(start="")
    with pytest.raises(InputError, match="float32"):
        ClassifierConfig(precision="bf16")
