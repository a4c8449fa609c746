"""Runs of each task, made of a configuration and of data: what the command line calls; knows no terminal and no cohort's layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from thoracle.cohort.dataset import Sample
from thoracle.models.folder import TOKENIZER
from thoracle.models.tokenizer import Tokenizer
from thoracle.training.clip import ClipInTraining
from thoracle.training.contrastive import ContrastiveConfig, ContrastiveTask
from thoracle.training.data import Data, Paired
from thoracle.training.distributed import World
from thoracle.training.start import network, run_tokenizer
from thoracle.training.trainer import Evaluate, Trainer


def contrastive_run(
    config: ContrastiveConfig,
    pairs: Data[Sample],
    world: World,
    *,
    words: Callable[[], Sequence[str]],
    resume: bool = False,
    evaluate: Callable[[ClipInTraining], Evaluate] | None = None,
) -> Trainer:
    """A run that aligns volumes with their reports.

    Args:
        config: of the run.
        pairs: what is trained on.
        world: as `join` gives it.
        words: gives the texts of whose words a vocabulary is made, if the configuration names no tokenizer.
        resume: go on in a folder that exists; without one the run begins.
        evaluate: makes the evaluation; called each `evaluate_every` steps.

    Raises:
        As `Trainer`, `run_tokenizer` and `network`.
    """

    def task(folder: Path) -> ContrastiveTask:
        tokenizer = Tokenizer.from_folder(folder / TOKENIZER)
        return ContrastiveTask(network(config, tokenizer), config, world, tokenizer=tokenizer)

    def collate(folder: Path) -> Paired:
        return Paired(Tokenizer.from_folder(folder / TOKENIZER), config.text_length)

    def files() -> dict[str, bytes]:
        return {f"{TOKENIZER}/{name}": content for name, content in run_tokenizer(config, words).files.items()}

    return Trainer(config, pairs, world, task=task, collate=collate, files=files, resume=resume, evaluate=evaluate)
