"""The task of CT-CLIP: its loss is the model's own, and all that is trained gets a gradient."""

from __future__ import annotations

from types import ModuleType

import torch

from thoracle.models.ctclip.model import CTCLIP
from thoracle.training.engine.distributed import World

ALONE = World(rank=0, size=1, device=torch.device("cpu"))


def test_a_step_in_one_piece_is_the_models_own_loss(steps: ModuleType) -> None:
    torch.manual_seed(0)
    clip, batch = CTCLIP(steps.MODEL).train(), steps.batch()
    loss = clip(batch.input_ids_BN, batch.attention_mask_BN, batch.volume_B1ZHW)
    loss.backward()
    got = steps.step(steps.CONFIG, ALONE, [batch])
    torch.testing.assert_close(got.loss, loss.detach())
    steps.same_gradients(got.gradients, {f"clip.{name}": p.grad for name, p in clip.named_parameters() if p.grad is not None})
    torch.testing.assert_close(got.embed, clip.visual_transformer.vq["_codebook"].embed)


def test_every_weight_that_is_trained_gets_a_gradient(steps: ModuleType) -> None:
    for case in ("global", "sigmoid", "cloob"):
        task = steps.task(steps.CASES[case], ALONE)
        task.accumulate_gradients([steps.batch()])
        assert all(parameter.grad is not None for parameter in task.trainable_parameters()), case
