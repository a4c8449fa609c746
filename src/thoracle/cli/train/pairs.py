"""The volumes and reports that a run on pairs begins with."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from thoracle.cohort.augment import Augmentation
    from thoracle.cohort.dataset import CohortDataset
    from thoracle.training.pairs import PairConfig


def prepared_pairs(
    told: PairConfig, *, augmentation: Augmentation | None = None, excerpt: int = 0
) -> tuple[CohortDataset, CohortDataset | None]:
    """Those that are trained on, and those that are evaluated on, where the run evaluates."""
    from thoracle.cohort.dataset import CohortDataset
    from thoracle.errors import InputError

    pairs = CohortDataset(
        told.cohort, split="train", section=told.section, needs=["report"], augmentation=augmentation, excerpt=excerpt, seed=told.seed
    )
    if pairs.cohort.preprocess != told.preprocess:
        raise InputError("was prepared with another preprocessing than the configuration's", cure="Prepare it again.", source=told.cohort)
    return pairs, CohortDataset(told.cohort, split="valid", needs=["labels"]) if told.eval_every else None
