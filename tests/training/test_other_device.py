"""Every path of a model and of a step, on a second kind of device that computes nothing: what is left on the CPU raises.

It sees where tensors lie, and no kernel's choice and no number.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorDeviceMismatchError

from tests.training import chat_steps, steps, vocabfine_start
from tests.training.other_device import other_device
from thoracle.cohort.samples.augment import Augmentation
from thoracle.models.bundle.model_folder import ModelFolder, open_model
from thoracle.models.ctclip.model import CTCLIP
from thoracle.models.encoder import EncodedText
from thoracle.models.medfinder.config import ViTConfig
from thoracle.models.medfinder.model import MedFinder
from thoracle.models.text.classifier import TextClassifier
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.training.chat.packing import ChatBatch, PackedCollator, PackedSequence, group_by_prefix
from thoracle.training.engine.distributed import World
from thoracle.training.finetuning.classifier import ClassifierTask, LabelledBatch
from thoracle.training.finetuning.config import ClassifierConfig
from thoracle.training.finetuning.vocabfine import LabelledVolumes, VocabFineConfig, VocabFineTask
from thoracle.training.labeler.task import LabelerConfig, LabelerTask, TextBatch

VIT = replace(
    steps.FINDER,
    preprocess=replace(steps.FINDER.preprocess, size=(20, 40, 40)),
    augmentation=Augmentation(probability=1.0),
    model=replace(steps.FINDER.model, resnet=None, vit=ViTConfig(patch_size=20, dim=16, depth=2, heads=2, mlp=16)),
)
PAIRS = {
    **steps.CASES,
    "checkpointed": replace(steps.CONFIG, activation_checkpointing=True),
    "bf16": replace(steps.CONFIG, precision="bf16"),
    "vit": VIT,
    "resnet, augmented": replace(steps.FINDER, augmentation=Augmentation(probability=1.0)),
}
POOLS = {
    "mean": steps.MODEL,
    "grid": replace(steps.MODEL, spatial_pool="grid"),
    "slices": replace(steps.MODEL, slice_pool="attention"),
    "windows": replace(steps.MODEL, ctvit=replace(steps.MODEL.ctvit, hu_windows=((-1.0, 0.0), (0.0, 1.0)), subpatches=2)),
}
CLASSIFIERS: dict[str, dict[str, Any]] = {
    "latents": {},
    "slices": {"slice_pool": "attention"},
    "label-attention": {"head": "label-attention"},
    "lora": {"encoder": "lora"},
    "full": {"encoder": "full"},
    "label-attention on an encoder that learns": {"encoder": "full", "head": "label-attention"},
}

pytestmark = pytest.mark.slow


def world(device: torch.device) -> World:
    return World(rank=0, size=1, device=device)


def check_gradients(task: Any, loss: Tensor) -> None:
    gradients = [parameter.grad for parameter in task.trainable_parameters() if parameter.grad is not None]
    assert gradients
    assert {tensor.device.type for tensor in (loss, *gradients)} == {"lazy"}


@pytest.mark.parametrize("name", PAIRS)
def test_a_step_on_pairs(name: str) -> None:
    with other_device() as device:
        task = steps.task(PAIRS[name], world(device))
        check_gradients(task, task.accumulate_gradients([steps.batch()]))


@pytest.mark.parametrize("name", POOLS)
def test_volumes_and_texts_are_encoded(name: str) -> None:
    with other_device() as device:
        clip = CTCLIP(POOLS[name]).to(device).eval()
        encoded = clip.encode_volume(torch.zeros(2, 1, 20, 40, 40, device=device))
        ids_BN = torch.ones(2, 7, dtype=torch.int64, device=device)
        text_BL = clip.encode_text(EncodedText(input_ids_BN=ids_BN, attention_mask_BN=ids_BN))
        assert encoded.latent_BL is not None
        assert {encoded.latent_BL.device.type, encoded.tokens.device.type, text_BL.device.type} == {"lazy"}


def test_medfinder_encodes_a_scan() -> None:
    with other_device() as device:
        finder = MedFinder(steps.FINDER.model).to(device).eval()
        latent_BL = finder.encode_volume(torch.zeros(1, 1, 20, 40, 40, device=device)).latent_BL
        assert latent_BL is not None
        assert latent_BL.device.type == "lazy"


@pytest.mark.parametrize("loss", ["squared", "cross-entropy"])
def test_a_step_of_vocabfine(loss: Any) -> None:
    with other_device() as device:
        config = VocabFineConfig(loss=loss, batch_size=2)
        words = Tokenizer.from_words(["a nodule is present", "is not"])
        templates = ("{abnormality} is present.", "{abnormality} is not present.")
        clip = CTCLIP(replace(steps.MODEL, bert=replace(steps.MODEL.bert, vocab_size=512)))
        task = VocabFineTask(clip, config, world(device), tokenizer=words, preprocess=vocabfine_start.PREPROCESS, templates=templates)
        batch = LabelledVolumes(volume_B1ZHW=torch.zeros(2, 1, 20, 40, 40), labels_BK=torch.zeros(2, 18), names=("a", "b"))
        check_gradients(task, task.accumulate_gradients([batch]))


@pytest.fixture
def start(tmp_path: Path) -> ModelFolder:
    """A CT-CLIP on the disk, on the CPU."""
    return open_model(vocabfine_start.write_start(tmp_path / "start"))


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_step_of_a_classifier(name: str, start: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    config = ClassifierConfig(**CLASSIFIERS[name], batch_size=2)
    given = {"latents": (16,), "tokens": (2, 2, 2), "volumes": (1, 20, 40, 40)}[config.features]
    with other_device() as device:
        monkeypatch.setattr("thoracle.training.finetuning.classifier.load_state_dict", lambda _: CTCLIP(start.config).state_dict())
        task = ClassifierTask(config, world(device), start=start, weights_K=torch.ones(18))
        features = torch.zeros(2, *given, dtype=torch.int32 if config.features == "tokens" else torch.float32)
        batch = LabelledBatch(given_B=features, labels_BK=torch.zeros(2, 18), names=("a", "b"))
        check_gradients(task, task.accumulate_gradients([batch]))


def test_a_step_of_a_labeler() -> None:
    with other_device() as device:
        config = LabelerConfig(model=steps.MODEL.bert, batch_size=2)
        network = TextClassifier(config.model, n_labels=18)
        task = LabelerTask(network, config, world(device), sizes=config.model, tokenizer=Tokenizer.from_words(["nodule"]))
        ids_BN = torch.ones(2, 7, dtype=torch.int64)
        batch = TextBatch(input_ids_BN=ids_BN, attention_mask_BN=ids_BN, labels_BK=torch.zeros(2, 18), names=("a", "b"))
        check_gradients(task, task.accumulate_gradients([batch]))


@pytest.fixture(scope="module")
def questions() -> ChatBatch:
    """Rows of questions on scans, with numbers."""
    config = chat_steps.CASES["projector, ddp"]
    _, prompter = chat_steps.task(config, world(torch.device("cpu")))
    collate = PackedCollator(lambda _: torch.zeros(1, 2, 2, 6), pad=0, weigh="token")
    return collate([PackedSequence(trees=(tree,)) for tree in group_by_prefix(chat_steps.TALKS, prompter, length=400)])


@pytest.mark.parametrize("name", ["projector, ddp", "lora, ddp", "lora, checkpointed"])
def test_a_step_of_a_chat_model(name: str, questions: ChatBatch) -> None:
    config = chat_steps.CASES[name.replace("checkpointed", "ddp")]
    with other_device() as device:
        task, _ = chat_steps.task(replace(config, activation_checkpointing="checkpointed" in name), world(device))
        check_gradients(task, task.accumulate_gradients([questions]))


def test_a_tensor_that_is_left_behind_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same step, with the mask of its texts where it came from."""
    with other_device() as device:
        task = steps.task(steps.CONFIG, world(device))
        encode = task.encode
        monkeypatch.setattr(task, "encode", lambda ids, mask, volume: encode(ids, mask.cpu(), volume))
        with pytest.raises(FakeTensorDeviceMismatchError):
            task.accumulate_gradients([steps.batch()])
