"""Runs of each task, made of a configuration and of data: what the command line calls; knows no terminal and no cohort's layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from thoracle.cohort.dataset import Sample
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.errors import InputError
from thoracle.models.ctclip import CTCLIP
from thoracle.models.ctclip_spec import CT_CLIP
from thoracle.models.folder import TOKENIZER, ModelFolder, load_tensors, open_model
from thoracle.models.medfinder import MedFinder
from thoracle.models.pretrained_text import initialize_text, load_pretrained_text
from thoracle.models.prompts import format_prompts
from thoracle.models.tokenizer import Tokenizer
from thoracle.training.clip import ClipInTraining
from thoracle.training.contrastive import ContrastiveConfig, ContrastiveTask
from thoracle.training.data import Data, Paired
from thoracle.training.distributed import World
from thoracle.training.encoder import begin
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
        evaluate: makes the evaluation; called each `eval_every` steps.

    Raises:
        As `Trainer`, `run_tokenizer` and `network`.
    """

    def task(folder: Path) -> ContrastiveTask:
        tokenizer = Tokenizer.from_folder(folder / TOKENIZER)
        return ContrastiveTask(network(config, tokenizer), config, world, tokenizer=tokenizer)

    def collate(folder: Path) -> Paired:
        return Paired(Tokenizer.from_folder(folder / TOKENIZER), config.max_text_tokens)

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
        As `Trainer`, `load_pretrained_text` and `fits`.
    """
    text = load_pretrained_text(Path(config.text)) if config.text else None
    model = config.model if text is None else replace(config.model, bert=text.described()[0])
    config = config if text is None else replace(config, disclaimer=config.disclaimer or text.caution)

    def task(folder: Path) -> MedFinderTask:
        tokenizer = Tokenizer.from_folder(folder / TOKENIZER)
        fits(tokenizer, model.bert)
        finder = MedFinder(model)
        if text is not None:
            initialize_text(finder.text_transformer, text, config=model.bert)
        return MedFinderTask(finder, config, world, tokenizer=tokenizer)

    def collate(folder: Path) -> Paired:
        return Paired(Tokenizer.from_folder(folder / TOKENIZER), min(config.max_text_tokens, model.bert.most_tokens))

    def files() -> dict[str, bytes]:
        tokenizer = Tokenizer.from_words([*words(), *format_prompts()]) if text is None else text.described()[1]
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
    if config.eval_every and not validation:
        raise InputError("no report is left to validate on", cure="Give more reports, or set eval_every to 0.", source="reports")
    training = Texts((*training.reports, *(config.prompt_repeats * prompt_reports())))
    start = begin(config, lambda: [one.text for one in training.reports])
    config = replace(config, disclaimer=config.disclaimer or start.caution)

    def task(folder: Path) -> LabelerTask:
        tokenizer = Tokenizer.from_folder(folder / TOKENIZER)
        return LabelerTask(start.network(), config, world, sizes=start.sizes, tokenizer=tokenizer)

    def collate(folder: Path) -> Read:
        return Read(Tokenizer.from_folder(folder / TOKENIZER), min(config.max_text_tokens, start.sizes.most_tokens))

    def evaluate(task: LabelerTask) -> TextScores:
        return TextScores(
            task, validation, Read(task.tokenizer, min(config.max_text_tokens, start.sizes.most_tokens)), batch=config.batch_size
        )

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
        InputError: `init_from` is no CT-CLIP, or was made for other volumes.
        As `Trainer`, `open_model` and `load_tensors`.
    """
    start = begun_with(config.init_from, preprocess)
    if start.spec is not CT_CLIP or not start.prompts:
        raise InputError("is no CT-CLIP, which VocabFine goes on from", cure="Give one as `init_from`.", source=start.path)
    model, tokenizer = start.config, start.tokenizer()
    config = replace(config, disclaimer=config.disclaimer or start.caution)

    def task(_: Path) -> VocabFineTask:
        clip = CTCLIP(model)
        clip.load_state_dict(load_tensors(start))
        return VocabFineTask(clip, config, world, tokenizer=tokenizer, preprocess=preprocess, templates=start.prompts)

    return Trainer(config, volumes, world, task=task, collate=lambda _: collate_labelled, resume=resume, evaluate=evaluate)


def begun_with(start: str, preprocess: PreprocessConfig) -> ModelFolder:
    """The folder of a model to go on from; raises InputError where it was made for other volumes, and as `open_model`."""
    folder = open_model(Path(start))
    if folder.preprocess != preprocess:
        raise InputError("was made for another preprocessing", cure="Prepare the cohort with its config.json.", source=folder.path)
    return folder
