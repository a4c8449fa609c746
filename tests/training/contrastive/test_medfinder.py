"""MedFinder's task: its objective, its views, what is trained."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from tests.training import rank_run
from thoracle.cohort.samples.augment import Augmentation
from thoracle.models.common.losses import consistency_loss
from thoracle.training.contrastive.medfinder import MedFinderRunConfig, MedFinderTask
from thoracle.training.engine.checkpoints import checkpoints
from thoracle.training.engine.config import load_config
from thoracle.training.engine.distributed import World

ALONE = World(rank=0, size=1, device=torch.device("cpu"))
STRONG = Augmentation(probability=1.0, rotation=0.3, zoom=0.2, shift=0.1, noise=0.3)
STEPS = 4


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
    for config in (steps.FINDER, rank_run.CASES["vit"], rank_run.CASES["resnet"]):
        for cross in (True, False):
            model = replace(config.model, cross_attention=cross)
            trained = steps.task(replace(config, model=model, augmentation=STRONG, batch_size=8), ALONE)
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


@pytest.mark.slow
@pytest.mark.parametrize("case", ["vit", "resnet"])
def test_two_ranks_train_either_image_encoder_beyond_the_second_step(case: str, ranks: Any, tmp_path: Path) -> None:
    """A parameter that no loss reaches ends DDP at its second step."""
    config = rank_run.CASES[case]
    ranks("-m", "tests.training.rank_run", *rank_run.settings(config, out=str(tmp_path / "run")))
    assert [checkpoint.step for checkpoint in checkpoints(tmp_path / "run" / "checkpoints")] == [1, 2, 3]
