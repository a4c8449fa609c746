"""Runs of each task, made of a configuration and of data: what the command line calls; knows no terminal and no cohort's layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from thoracle.cohort.dataset import CohortDataset, Sample
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.errors import InputError
from thoracle.models.config import CTCLIPConfig
from thoracle.models.ctclip import CTCLIP
from thoracle.models.folder import TOKENIZER, ModelFolder, load_tensors, open_model, prompt_texts
from thoracle.models.losses import positive_weights
from thoracle.models.medfinder import MedFinder
from thoracle.models.tokenizer import Tokenizer
from thoracle.training.classifier import ClassifierConfig, ClassifierTask, LatentScores, clip_tensors, collate_latents
from thoracle.training.clip import ClipInTraining
from thoracle.training.contrastive import ContrastiveConfig, ContrastiveTask
from thoracle.training.data import Data, Paired
from thoracle.training.distributed import World
from thoracle.training.encoder import begin, read_encoder
from thoracle.training.frozen import LatentData, frozen_latents
from thoracle.training.labeler import LabelerConfig, LabelerTask, LabelledText, Read, Texts, TextScores, prompt_reports
from thoracle.training.medfinder import MedFinderRunConfig, MedFinderTask
from thoracle.training.start import fits, network, run_tokenizer
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


def medfinder_run(
    config: MedFinderRunConfig,
    pairs: Data[Sample],
    world: World,
    *,
    words: Callable[[], Sequence[str]],
    resume: bool = False,
    evaluate: Callable[[ClipInTraining], Evaluate] | None = None,
) -> Trainer:
    """A run that aligns two views of volumes with their reports.

    Args:
        config, pairs, world, resume, evaluate: as in `contrastive_run`.
        words: gives the texts of whose words a vocabulary is made, if the configuration names no text encoder.

    Raises:
        As `Trainer`, `read_encoder` and `fits`.
    """
    text = read_encoder(Path(config.text)) if config.text else None
    model = config.model if text is None else replace(config.model, bert=text.sizes)
    config = config if text is None else replace(config, caution=config.caution or text.caution)

    def task(folder: Path) -> MedFinderTask:
        tokenizer = Tokenizer.from_folder(folder / TOKENIZER)
        fits(tokenizer, model.bert)
        finder = MedFinder(model)
        if text is not None:
            finder.text_transformer.load_state_dict({**finder.text_transformer.state_dict(), **text.encoder()})
        return MedFinderTask(finder, config, world, tokenizer=tokenizer)

    def collate(folder: Path) -> Paired:
        return Paired(Tokenizer.from_folder(folder / TOKENIZER), min(config.text_length, model.bert.most_tokens))

    def files() -> dict[str, bytes]:
        tokenizer = Tokenizer.from_words([*words(), *prompt_texts()]) if text is None else text.tokenizer
        return {f"{TOKENIZER}/{name}": content for name, content in tokenizer.files.items()}

    return Trainer(config, pairs, world, task=task, collate=collate, files=files, resume=resume, evaluate=evaluate)


def labeler_run(config: LabelerConfig, reports: Sequence[LabelledText], world: World, *, resume: bool = False) -> Trainer:
    """A run that teaches a report classifier labels.

    Args:
        config: of the run.
        reports: all there are; which of them are trained on is as `Texts.split` has it.
        world: as `join` gives it.
        resume: as in `contrastive_run`.

    Raises:
        InputError: no report is left to validate on.
        As `Trainer` and `begin`.
    """
    training, validation = Texts.split(reports)
    if config.evaluate_every and not validation:
        raise InputError("no report is left to validate on", cure="Give more reports, or set evaluate_every to 0.", source="reports")
    training = Texts((*training.reports, *(config.prompts * prompt_reports())))
    start = begin(config, lambda: [one.text for one in training.reports])
    config = replace(config, caution=config.caution or start.caution)

    def task(folder: Path) -> LabelerTask:
        tokenizer = Tokenizer.from_folder(folder / TOKENIZER)
        return LabelerTask(start.network(), config, world, sizes=start.sizes, tokenizer=tokenizer)

    def collate(folder: Path) -> Read:
        return Read(Tokenizer.from_folder(folder / TOKENIZER), min(config.text_length, start.sizes.most_tokens))

    def evaluate(task: LabelerTask) -> TextScores:
        return TextScores(task, validation, Read(task.tokenizer, min(config.text_length, start.sizes.most_tokens)), batch=config.batch)

    def files() -> dict[str, bytes]:
        return {f"{TOKENIZER}/{name}": content for name, content in start.tokenizer.files.items()}

    return Trainer(config, training, world, task=task, collate=collate, files=files, resume=resume, evaluate=evaluate)


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
    start = _begun_with(config.start, preprocess)
    if not isinstance(start.config, CTCLIPConfig) or not start.prompts:
        raise InputError("is no CT-CLIP, which VocabFine goes on from", cure="Give one as `start`.", source=start.path)
    model, tokenizer = start.config, start.tokenizer()
    config = replace(config, caution=config.caution or start.caution)

    def task(_: Path) -> VocabFineTask:
        clip = CTCLIP(model)
        clip.load_state_dict(load_tensors(start))
        return VocabFineTask(clip, config, world, tokenizer=tokenizer, preprocess=preprocess, templates=start.prompts)

    return Trainer(config, volumes, world, task=task, collate=lambda _: collate_labelled, resume=resume, evaluate=evaluate)


def classifier_run(
    config: ClassifierConfig,
    train: CohortDataset,
    valid: CohortDataset | None,
    world: World,
    *,
    resume: bool = False,
    encoded: Callable[[int, int], None] = lambda _, __: None,
) -> Trainer:
    """A run that trains a classifier on a frozen encoder's latents, which are computed first, if they are not there.

    Args:
        config: of the run.
        train: volumes that are trained on.
        valid: volumes that are evaluated on each `evaluate_every` steps; None does not evaluate.
        world: as `join` gives it.
        resume: as in `contrastive_run`.
        encoded: told how many volumes have latents, of how many in all.

    Raises:
        InputError: `start` is no CT-CLIP or LiPro, or was made for other volumes.
        As `Trainer`, `open_model` and `load_tensors`.
    """
    start = _begun_with(config.start, train.cohort.preprocess)
    if not isinstance(start.config, CTCLIPConfig):
        raise InputError("has no image latents, which LiPro classifies", cure="Give a CT-CLIP or LiPro as `start`.", source=start.path)
    config = replace(config, caution=config.caution or start.caution)
    clip = CTCLIP(start.config)
    clip.load_state_dict(clip_tensors(start))
    clip.to(world.device)
    total, before, parts = len(train) + len(valid or ()), 0, []
    for volumes in filter(None, (train, valid)):
        latents_VL = frozen_latents(
            clip,
            volumes,
            world,
            keys=[entry.cache_sha256 for entry in volumes.entries],
            model_sha256=start.weights_sha256,
            folder=config.latents_folder,
            batch=config.encode,
            done=lambda number, before=before: encoded(before + number, total),  # type: ignore[misc]
        )
        labels_VK = torch.tensor([[float("nan") if label is None else float(label) for label in one.labels] for one in volumes.entries])
        parts.append(LatentData(latents_VL, labels_VK, [entry.volume for entry in volumes.entries]))
        before += len(volumes)
    weights_K = positive_weights(parts[0].labels_VK)
    if config.weights == "none":
        weights_K = torch.ones_like(weights_K)

    def task(_: Path) -> ClassifierTask:
        return ClassifierTask(config, world, start=start, weights_K=weights_K)

    def evaluate(task: ClassifierTask) -> Evaluate:
        return LatentScores(task, parts[1])

    return Trainer(
        config, parts[0], world, task=task, collate=lambda _: collate_latents, resume=resume, evaluate=None if valid is None else evaluate
    )


def _begun_with(start: str, preprocess: PreprocessConfig) -> ModelFolder:
    folder = open_model(Path(start))
    if folder.preprocess != preprocess:
        raise InputError("was made for another preprocessing", cure="Prepare the cohort with its config.json.", source=folder.path)
    return folder
