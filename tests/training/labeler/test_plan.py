"""What is planned for a labeler is what two steps take, and what BERT's published size comes to by hand."""

from __future__ import annotations

import pytest

from tests.training.conftest import PlannedSteps
from thoracle.training.engine.config import builtin_config, load_config
from thoracle.training.labeler.plan import plan_labeler
from thoracle.training.labeler.task import LabelerConfig


@pytest.mark.slow
def test_the_planned_peak_is_within_a_fifth_of_the_measured_one(planned_steps: PlannedSteps) -> None:
    figures = planned_steps("labeler")
    assert figures["planned"] == pytest.approx(figures["measured"], rel=0.2)


def test_the_published_labeler_is_planned_without_being_allocated() -> None:
    """BERT's 110 million weights: words, positions and kinds, 12 layers, a pooler; and a head of 18 rows."""
    config = load_config(builtin_config("labeler"), LabelerConfig)
    plan = plan_labeler(config, reports=24_128, ranks=2, local_ranks=2)
    words, width, wide = config.model.vocab_size, 768, 3072
    layer = 4 * (width * width + width) + 2 * width * wide + wide + width + 2 * 2 * width
    embeddings = (words + config.model.max_position_embeddings + 2) * width + 2 * width
    assert plan.parameters == embeddings + 12 * layer + width * width + width + 18 * width + 18
    assert plan.device["weights"] == 4 * plan.parameters
    assert plan.checkpoint == 3 * 4 * plan.parameters
    assert plan.steps_per_epoch == 24_128 // 64
    assert plan.shared == (2 * 2 + 1) * 32 * (2 * 8 * 512 + 4 * 18)


def test_prompts_count_as_reports() -> None:
    config = LabelerConfig(prompt_repeats=25, batch_size=1, max_text_tokens=8)
    assert plan_labeler(config, reports=100, ranks=1, local_ranks=1).samples == 100 + 25 * 36
