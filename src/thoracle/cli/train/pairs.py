"""Open the volumes and reports that a run on pairs begins with."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thoracle.cohort.manifest import Cohort
    from thoracle.cohort.samples.augment import Augmentation
    from thoracle.cohort.samples.dataset import CohortDataset
    from thoracle.training.contrastive.gradient_cache import PairConfig
    from thoracle.training.engine.config import RunConfig
    from thoracle.training.engine.trainer import Evaluator


def open_pairs(config: PairConfig, *, augmentation: Augmentation | None = None, excerpt: int = 0) -> CohortDataset:
    """Open the pairs that are trained on.

    Raises:
        InputError: the cohort was prepared for another model.
    """
    from thoracle.cohort.manifest import open_cohort
    from thoracle.cohort.samples.dataset import CohortDataset
    from thoracle.errors import InputError

    pairs = CohortDataset(
        open_cohort(config.cohort, only=config.only),
        split="train",
        section=config.section,
        needs=["report"],
        augmentation=augmentation,
        excerpt=excerpt,
        seed=config.seed,
    )
    if pairs.cohort.preprocess != config.preprocess:
        raise InputError("was prepared with another preprocessing than the configuration's", hint="Prepare it again.", source=config.cohort)
    return pairs


def open_evaluated(config: RunConfig, cohort: str) -> Cohort:
    """Open a cohort whose split dev a run is evaluated on.

    Raises:
        InputError: it has nobody in split dev.
    """
    from thoracle.cohort.manifest import open_cohort
    from thoracle.errors import InputError

    opened = open_cohort(cohort, only=config.only)
    if all(entry.split != "dev" for entry in opened.entries):
        hint = "Prepare it with a larger --dev-share, or set eval_every to 0."
        raise InputError("has nobody in split dev, which training is evaluated on", hint=hint, source=cohort)
    return opened


def cache_size(cohort: Cohort) -> int:
    """Count the bytes of a cohort's cache."""
    return sum((cohort.folder / entry.cache).stat().st_size for entry in cohort.entries)


def pair_evaluation(config: PairConfig) -> Callable[[Any], Evaluator] | None:
    """Open what a run on pairs is evaluated on, as its `monitor` needs it: recall of pairs, or labels; None where it is not evaluated.

    Raises:
        InputError: the split dev has none of them, or nobody.
    """
    from thoracle.cohort.samples.dataset import CohortDataset
    from thoracle.errors import InputError
    from thoracle.training.contrastive.retrieval_eval import PAIR_MONITORS, RetrievalEvaluator

    batch = config.gradient_cache_chunk or config.batch_size
    if not config.eval_every or config.monitor not in PAIR_MONITORS:
        try:
            return zero_shot(config, config.cohort, batch=batch)
        except InputError as error:
            hint = f"{error.hint} Monitors {', '.join(PAIR_MONITORS)} need reports alone; `thoracle prepare --label` labels them."
            raise InputError(error.detail, hint=hint, source=config.cohort) from error
    pairs = CohortDataset(open_evaluated(config, config.cohort), split="dev", section=config.section, needs=["report"])
    return lambda task: RetrievalEvaluator(task, pairs, batch=batch, length=config.max_text_tokens, workers=config.num_workers)


def zero_shot(config: RunConfig, cohort: str, *, batch: int) -> Callable[[Any], Evaluator] | None:
    """Open the labelled volumes of split dev, and evaluate on them as the configuration asks; None where it does not."""
    from thoracle.cohort.samples.dataset import CohortDataset
    from thoracle.training.contrastive.zero_shot_eval import ZeroShotEvaluator

    if not config.eval_every:
        return None
    labelled = CohortDataset(open_evaluated(config, cohort), split="dev", needs=["labels"])
    return lambda task: ZeroShotEvaluator(task, labelled, batch=batch, workers=config.num_workers)
