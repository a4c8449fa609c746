"""Plan a labeler run."""

from __future__ import annotations

from pathlib import Path

import torch

from thoracle.models.bundle.pretrained_text import load_pretrained_text
from thoracle.models.common.prompts import format_prompts
from thoracle.models.text.classifier import TextClassifier
from thoracle.models.text.encoder import TransformerLayer
from thoracle.training.engine.plan import RunPlan, StepOutline, plan_run, step_cost
from thoracle.training.labeler.task import LabelerConfig
from thoracle.types import ABNORMALITIES


def plan_labeler(config: LabelerConfig, *, reports: int, ranks: int, local_ranks: int) -> RunPlan:
    """Plan a run from its configuration and the number of reports that are trained on, taken to be as long as they are read.

    Raises:
        As `initialize_text`.
    """
    sizes = load_pretrained_text(Path(config.init_from)).described()[0] if config.init_from else config.model
    length = min(config.max_text_tokens, sizes.max_tokens)

    def outline() -> StepOutline:
        network = TextClassifier(sizes, n_labels=len(ABNORMALITIES)).train()
        ids_BN = torch.zeros(config.batch_size, length, dtype=torch.int64)
        blocks = [module for module in network.modules() if isinstance(module, TransformerLayer)]
        return StepOutline(module=network, forward=lambda: [network(ids_BN, torch.ones_like(ids_BN))], blocks=blocks)

    return plan_run(
        config,
        step_cost(outline, half=config.precision != "float32"),
        chunk=config.batch_size,
        sample_bytes=2 * torch.int64.itemsize * length + torch.float32.itemsize * len(ABNORMALITIES),
        samples=reports + config.prompt_repeats * len(format_prompts()),
        cache=0,
        ranks=ranks,
        local_ranks=local_ranks,
    )
