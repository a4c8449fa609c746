"""MedFinder's task: its objective, its views, what is trained; a run that is bit-equal when it is stopped and resumed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from thoracle.cohort.samples.augment import Augmentation
from thoracle.cohort.samples.dataset import Sample
from thoracle.errors import CapabilityMissing, InputError
from thoracle.inference.explain import saliency
from thoracle.inference.model import load
from thoracle.models.bundle.model_folder import load_state_dict, open_model
from thoracle.models.common.losses import consistency_loss
from thoracle.models.text.encoder import BertEncoder
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.training.contrastive.medfinder import MedFinderRunConfig, MedFinderTask
from thoracle.training.contrastive.run import medfinder_run
from thoracle.training.contrastive.zero_shot_eval import ZeroShotEvaluator
from thoracle.training.engine.config import OptimizerConfig, load_config
from thoracle.training.engine.distributed import World
from thoracle.types import ABNORMALITIES

ALONE = World(rank=0, size=1, device=torch.device("cpu"))
STRONG = Augmentation(probability=1.0, rotation=0.3, zoom=0.2, shift=0.1, noise=0.3)
STEPS = 4


class Pairs:
    """Eight pairs of noise."""

    def __len__(self) -> int:
        return 8

    def set_epoch(self, epoch: int) -> None: ...

    def __getitem__(self, index: int) -> Sample:
        volume = torch.randn(1, 20, 40, 40, generator=torch.Generator().manual_seed(index)).clamp(-1, 1)
        labels = (torch.arange(18) % 8 == index).float()
        report = f"There is {ABNORMALITIES[index].lower()}."
        return Sample(volume_1ZHW=volume, report=report, labels=labels, volume=f"train_{index}", scan=str(index), patient=str(index))


@pytest.fixture
def config(steps: ModuleType, tmp_path: Path) -> MedFinderRunConfig:
    """Views that change, dropout, gradient caching, a warm-up: whatever a resumed run could get wrong."""
    text = replace(steps.MODEL.bert, vocab_size=256, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)
    return replace(
        steps.FINDER,
        model=replace(steps.FINDER.model, bert=text),
        augmentation=STRONG,
        out=str(tmp_path / "run"),
        steps=STEPS,
        batch_size=4,
        gradient_cache_chunk=2,
        save_every=1,
        optimizer=OptimizerConfig(lr=1e-3, warmup_steps=2, weight_decay=0.1),
    )


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def train(config: MedFinderRunConfig, *, resume: bool = False, until: int = STEPS, **more: Any) -> list[float]:
    words = [Pairs()[index].report for index in range(8)]
    trainer = medfinder_run(config, Pairs(), ALONE, words=lambda: words, resume=resume, **more)
    losses = []
    for progress in trainer.run():
        losses.append(progress.loss)
        if progress.step == until and until < STEPS:
            break
    return losses


def test_consistency_is_zero_for_equal_views_and_the_squared_distance_of_others() -> None:
    one, other = F.normalize(torch.randn(2, 5, 8, dtype=torch.float64), dim=-1)
    assert consistency_loss(one, one).item() == 0
    expected = sum(2 - 2 * (one[row] @ other[row]).item() for row in range(5)) / 5
    assert consistency_loss(one, other).item() == pytest.approx(expected)


def test_the_objective_is_consistency_and_alpha_times_both_cross_entropies(steps: ModuleType) -> None:
    task = steps.task(replace(steps.FINDER, contrastive_weight=3.0), ALONE)
    latents = tuple(F.normalize(torch.randn(4, 5, 16), dim=-1))
    logits = latents[0] @ latents[1].T / 0.07
    rows = torch.arange(5)
    similarity = (F.cross_entropy(logits, rows) + F.cross_entropy(logits.T, rows)) / 2
    consistency = (latents[2] - latents[3]).square().sum() / 5
    torch.testing.assert_close(task.loss(latents), consistency + 3 * similarity)
    torch.testing.assert_close(task.loss(latents[:2]), 3 * similarity)


@pytest.mark.parametrize("count", [1, 2])
def test_views_are_seeded_of_one_shape_and_range_and_unlike_each_other(count: int, steps: ModuleType) -> None:
    task = steps.task(replace(steps.FINDER, augmentation=STRONG, views=count), ALONE)
    volume = torch.rand(3, 1, 20, 40, 40) * 2 - 1
    kept = volume.clone()
    torch.manual_seed(5)
    views = task.views(volume)
    torch.manual_seed(5)
    assert torch.equal(task.views(volume), views)
    assert not torch.equal(task.views(volume), views)
    assert views.shape == (3, count, 20, 40, 40)
    assert views.device == volume.device
    assert (views.min() >= -1, views.max() <= 1) == (True, True)
    assert torch.equal(volume, kept)
    assert not any(torch.equal(one, volume[:, 0]) for one in views.unbind(1))
    assert count == 1 or not torch.equal(*views.unbind(1))


def test_no_augmentation_leaves_every_view_as_it_was(steps: ModuleType) -> None:
    volume = torch.rand(2, 1, 20, 40, 40) * 2 - 1
    views = steps.task(steps.FINDER, ALONE).views(volume)
    assert all(torch.equal(view, volume[:, 0]) for view in views.unbind(1))


def test_gradients_reach_what_is_trained_and_nothing_else(steps: ModuleType) -> None:
    trained = steps.task(replace(steps.FINDER, augmentation=STRONG), ALONE)
    trained.accumulate_gradients([steps.batch()])
    assert all(parameter.grad is not None for parameter in trained.trainable_parameters())
    frozen = steps.task(replace(steps.FINDER, text="biobert", freeze_text_encoder=True, augmentation=STRONG), ALONE)
    frozen.accumulate_gradients([steps.batch()])
    with_gradient = {name for name, parameter in frozen.clip.named_parameters() if parameter.grad is not None}
    assert with_gradient == {
        name for name, p in frozen.clip.named_parameters() if not name.startswith(("text_transformer.", "temperature"))
    }
    assert not frozen.clip.text_transformer.training, "frozen text drops nothing out"
    assert frozen.clip.image.training


@pytest.mark.parametrize("chunk", [1, 4])
def test_cached_gradients_are_those_of_the_whole_batch(chunk: int, steps: ModuleType) -> None:
    whole = steps.step(steps.FINDER, ALONE, [steps.batch()])
    cached = steps.step(replace(steps.FINDER, gradient_cache_chunk=chunk, activation_checkpointing=True), ALONE, [steps.batch()])
    torch.testing.assert_close(cached.loss, whole.loss)
    assert cached.gradients.keys() == whole.gradients.keys()
    for name, gradient in whole.gradients.items():
        torch.testing.assert_close(cached.gradients[name], gradient, atol=1e-5, rtol=1e-3)


def test_cached_gradients_see_the_views_of_the_first_pass(steps: ModuleType) -> None:
    """One chunk at a time, its two passes must draw the same views: the loss's slope along the gradient is its squared norm."""
    config = replace(steps.FINDER, gradient_cache_chunk=2, augmentation=STRONG)

    def loss(task: MedFinderTask) -> float:
        torch.manual_seed(7)
        return task.accumulate_gradients([steps.batch()]).item()

    task = steps.task(config, ALONE)
    loss(task)
    gradients = {name: p.grad.clone() for name, p in task.clip.named_parameters() if p.grad is not None}
    square, by = sum(float(g.square().sum()) for g in gradients.values()), 1e-3
    ends = []
    for side in (by, -by):
        moved = steps.task(config, ALONE)
        with torch.no_grad():
            for name, parameter in moved.clip.named_parameters():
                if name in gradients:
                    parameter.add_(side / math.sqrt(square) * gradients[name])
        ends.append(loss(moved))
    assert (ends[0] - ends[1]) / (2 * by) == pytest.approx(math.sqrt(square), rel=0.02)


def test_a_step_of_resnet_50_on_small_volumes(steps: ModuleType) -> None:
    """The shipped full size, but for the text encoder, the volumes, and what only a GPU does."""
    shipped = load_config(Path("medfinder-bimcv-r"), MedFinderRunConfig)
    config = replace(
        shipped,
        model=replace(shipped.model, size=(16, 32, 32), bert=steps.MODEL.bert),
        preprocess=replace(shipped.preprocess, size=(16, 32, 32)),
        batch_size=2,
        precision="float32",
    )
    whole = steps.batch(pairs=2)
    batch = replace(whole, volume_B1ZHW=whole.volume_B1ZHW[..., :16, :32, :32].clamp(-1, 1).contiguous())
    done = steps.step(config, ALONE, [batch])
    assert 0 < done.loss.item() < 20
    assert done.gradients["clip.image.net.layer4.2.conv3.weight"].shape == (2048, 512, 1, 1, 1)
    assert not any(name.startswith("clip.text_transformer.") for name in done.gradients)


def test_stopped_at_any_step_and_resumed_the_weights_are_bit_equal(config: MedFinderRunConfig, tmp_path: Path) -> None:
    whole = train(config)
    expected = _weights(config)
    for stop in range(1, STEPS):
        again = replace(config, out=str(tmp_path / f"stopped {stop}"))
        torch.manual_seed(99)
        before = train(again, until=stop)
        torch.manual_seed(98)
        assert [*before, *train(again, resume=True)] == whole
        assert all(torch.equal(tensor, expected[name]) for name, tensor in _weights(again).items())


def test_the_folder_detects_embeds_and_says_what_it_cannot_do(config: MedFinderRunConfig) -> None:
    scored: list[dict[str, float]] = []

    def evaluate(task: MedFinderTask) -> Any:
        score = ZeroShotEvaluator(task, Pairs(), batch=4)
        return lambda: scored.append(dict(score())) or scored[-1]

    train(replace(config, eval_every=2), evaluate=evaluate)
    assert [sorted(one)[-1] for one in scored] == ["macro_auroc"] * 2
    model, volume = load(Path(config.out) / "model"), Pairs()[0].volume_1ZHW[0]
    findings = model.detect(volume)
    assert findings.abnormalities == ABNORMALITIES
    assert findings.model_kind == "medfinder"
    encoded = model.encode_volume(volume)
    assert encoded.latent_BL.shape == (1, model.dim_latent) == (1, 16)
    assert torch.equal(model.encode_volume(volume).latent_BL, encoded.latent_BL)
    assert model.encode_text(["There is emphysema."]).shape == (1, 16)
    with pytest.raises(CapabilityMissing, match="does not have codes"):
        model.encode_tokens(volume)
    with pytest.raises(CapabilityMissing, match="tokens can be looked at"):
        saliency(model, volume, abnormalities=ABNORMALITIES[:1], method="gradient")
    assert load(Path(config.out) / "model", dtype="bf16").check_precision(volume).equal_codes is None


def test_a_pretrained_text_encoder_stays_as_it_came(config: MedFinderRunConfig, tmp_path: Path) -> None:
    """As open_clip writes BiomedCLIP: the text tower under a prefix, beside an image tower, and no config.json."""
    folder, sizes = tmp_path / "biomedclip", replace(config.model.bert, hidden_size=64, num_attention_heads=1)
    folder.mkdir()
    torch.manual_seed(3)
    text = BertEncoder(sizes).state_dict()
    towers = {**{f"text.transformer.{name}": tensor for name, tensor in text.items()}, "visual.trunk.cls_token": torch.zeros(1, 1, 8)}
    torch.save(towers, folder / "open_clip_pytorch_model.bin")
    (folder / "vocab.txt").write_bytes(Tokenizer.from_words(["There is an opacity"]).files["vocab.txt"])
    train(replace(config, text=str(folder), freeze_text_encoder=True))
    weights = _weights(config)
    assert all(torch.equal(weights[f"text_transformer.{name}"], tensor) for name, tensor in text.items())
    assert open_model(Path(config.out) / "model").config.bert.hidden_size == 64
    before = MedFinderRunConfig(**{**vars(config), "out": str(tmp_path / "short"), "text": str(folder), "steps": 1, "batch_size": 4})
    train(before)
    assert not torch.equal(_weights(before)["to_text_latent.weight"], weights["to_text_latent.weight"])


def test_more_words_than_the_text_encoder_has_are_refused(config: MedFinderRunConfig) -> None:
    small = replace(config, model=replace(config.model, bert=replace(config.model.bert, vocab_size=64)))
    with pytest.raises(InputError, match="vocab_size is 64"):
        train(small)


def _weights(config: MedFinderRunConfig) -> dict[str, Tensor]:
    return load_state_dict(open_model(Path(config.out) / "model", verify=True))
