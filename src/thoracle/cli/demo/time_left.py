"""How long the demo's stages last, so that each can say what is left of all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from thoracle.training.engine.config import RunConfig

#: Seconds of two idle cores: a scan, by stage that goes through scans; a sample, by stage that trains. What runs beside is done before.
_A_SCAN: Final = {
    "phantoms": 0.13,
    "cohort": 0.07,
    "index": 0.004,
    "evaluate search": 0.002,
    "questions": 0.002,
}
_A_SAMPLE: Final = {
    "train labeler": 1 / 1000,
    "train contrastive": 1 / 75,
    "train vocabfine": 1 / 75,
    "train chat: base": 1 / 12,
    "train chat: projector": 1 / 8,
    "train chat: lora": 1 / 10,
    "evaluate chat": 1 / 25,
}
#: A stage that took less than this share of what it should had been done before, and says nothing of the machine.
_DONE_BEFORE: Final = 0.2


def planned_seconds(*, scans: int, runs: Mapping[str, RunConfig], chat: Mapping[str, int]) -> dict[str, float]:
    """Estimate the seconds of each stage on two idle cores.

    Args:
        scans: phantoms in all.
        runs: that are trained in turn, by name.
        chat: how many samples chat's stages train on or ask, by stage.
    """
    samples = {f"train {name}": config.steps * config.batch_size for name, config in runs.items()} | dict(chat)
    through_scans = {stage: scans * seconds for stage, seconds in _A_SCAN.items()}
    return through_scans | {stage: count * _A_SAMPLE[stage] for stage, count in samples.items()}


def seconds_left(planned: Mapping[str, float], lasted: Mapping[str, float]) -> float:
    """Estimate the seconds of the stages to come, at the pace of those that were not done before."""
    paced = [stage for stage, seconds in planned.items() if lasted.get(stage, 0) > _DONE_BEFORE * seconds]
    pace = sum(lasted[stage] for stage in paced) / sum(planned[stage] for stage in paced) if paced else 1.0
    return pace * sum(seconds for stage, seconds in planned.items() if stage not in lasted)
