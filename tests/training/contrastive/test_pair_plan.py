"""What is planned by shapes alone is what two steps really take, and what the tables of a review say of full size."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.conftest import PlannedSteps
from thoracle.models.ctclip.model import CTCLIP
from thoracle.training.contrastive.ctclip import ContrastiveConfig
from thoracle.training.contrastive.pair_plan import plan_pairs
from thoracle.training.engine.config import load_config


@pytest.mark.slow
@pytest.mark.parametrize("name", ["whole batch", "chunks", "checkpointing", "two views"])
def test_the_planned_peak_is_within_a_fifth_of_the_measured_one(name: str, planned_steps: PlannedSteps) -> None:
    figures = planned_steps(name)
    assert figures["planned"] == pytest.approx(figures["measured"], rel=0.2)


def test_full_size_is_planned_without_being_allocated() -> None:
    """Four workers hold five volumes of 55.3 M voxels in two bytes, and as many when it is evaluated; weights are the paper's 438 M."""
    config = load_config(Path("ct-clip-small-gpu"), ContrastiveConfig)
    plan = plan_pairs(config, lambda: CTCLIP(config.model), samples=47_149, cache=0, ranks=4, local_ranks=4)
    voxels = 240 * 480 * 480
    assert config.num_workers == 4
    assert plan.buffers == 2 * 5 * 2 * voxels
    assert plan.device["batch"] == 2 * 2 * 4 * voxels + 2 * voxels, "a chunk of two and the next one, and one volume on its way"
    assert plan.device["moments"] == 2 * plan.device["gradients"] == 2 * 4 * plan.trained
    assert plan.steps_per_epoch == 47_149 // 256
    assert 0 < plan.device["activations"] < 4 * 2**30  # two volumes, of whose layers only inputs are kept
