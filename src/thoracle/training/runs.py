"""Runs of each task, made of a configuration and of data: what the command line calls; knows no terminal and no cohort's layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from thoracle.cohort.dataset import Sample
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.errors import InputError
from thoracle.models.config import CTCLIPConfig
from thoracle.models.ctclip import CTCLIP
from thoracle.models.folder import TOKENIZER, load_tensors, open_model
from thoracle.models.tokenizer import Tokenizer
from thoracle.training.clip import ClipInTraining
from thoracle.training.contrastive import ContrastiveConfig, ContrastiveTask
from thoracle.training.data import Data, Paired
from thoracle.training.distributed import World
from thoracle.training.start import network, run_tokenizer
from thoracle.training.trainer import Evaluate, Trainer
from thoracle.training.vocabfine import VocabFineConfig, VocabFineTask, collate_labelled


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


def vocabfine_run(
    config: VocabFineConfig,
    volumes: Data[Sample],
    world: World,
    *,
    preprocess: PreprocessConfig,
    resume: bool = False,
    evaluate: Callable[[ClipInTraining], Evaluate] | None = None,
) -> Trainer:
    """A run that teaches a CT-CLIP labels as prompts.

    Args:
        config: of the run.
        volumes: what is trained on.
        world: as `join` gives it.
        preprocess: what the volumes went through.
        resume, evaluate: as in `contrastive_run`.

    Raises:
        InputError: `start` is no CT-CLIP, or was made for other volumes.
        As `Trainer`, `open_model` and `load_tensors`.
    """
    start = open_model(Path(config.start))
    if not isinstance(start.config, CTCLIPConfig) or not start.prompts:
        raise InputError("is no CT-CLIP, which VocabFine goes on from", cure="Give one as `start`.", source=start.path)
    if start.preprocess != preprocess:
        raise InputError("was made for another preprocessing", cure="Prepare the cohort with its config.json.", source=start.path)
    model, tokenizer = start.config, start.tokenizer()
    config = replace(config, caution=config.caution or start.caution)

    def task(_: Path) -> VocabFineTask:
        clip = CTCLIP(model)
        clip.load_state_dict(load_tensors(start))
        return VocabFineTask(clip, config, world, tokenizer=tokenizer, preprocess=preprocess, templates=start.prompts)

    return Trainer(config, volumes, world, task=task, collate=lambda _: collate_labelled, resume=resume, evaluate=evaluate)
