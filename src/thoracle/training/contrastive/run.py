"""Make a run of a configuration and data: CT-CLIP or MedFinder on pairs of volumes and reports."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from thoracle.cohort.samples.dataset import Sample
from thoracle.models.bundle.model_folder import TOKENIZER, open_model
from thoracle.models.bundle.pretrained_text import initialize_text, load_pretrained_text
from thoracle.models.common.prompts import format_prompts
from thoracle.models.medfinder.model import MedFinder
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.training.contrastive.ctclip import ContrastiveConfig, ContrastiveTask
from thoracle.training.contrastive.dual_encoder import DualEncoderTask
from thoracle.training.contrastive.initialization import (
    build_ctclip,
    build_image_text,
    check_vocab_size,
    open_image_encoder,
    read_text_encoder,
    select_tokenizer,
    text_sizes,
)
from thoracle.training.contrastive.medfinder import MedFinderRunConfig, MedFinderTask
from thoracle.training.engine.distributed import World
from thoracle.training.engine.sampler import EpochDataset, PairCollator
from thoracle.training.engine.trainer import Evaluator, Trainer

_log = logging.getLogger(__name__)


def contrastive_run(
    config: ContrastiveConfig,
    pairs: EpochDataset[Sample],
    world: World,
    *,
    words: Callable[[], Sequence[str]],
    resume: bool = False,
    evaluate: Callable[[DualEncoderTask], Evaluator] | None = None,
) -> Trainer:
    """Make a run that aligns volumes with their reports.

    Args:
        config: of the run.
        pairs: what is trained on.
        world: as `join` gives it.
        words: gives the texts of whose words a vocabulary is made, if the configuration names no tokenizer.
        resume: go on in a folder that exists; without one the run begins.
        evaluate: makes the evaluation; called each `eval_every` steps.

    Raises:
        As `Trainer`, `load_pretrained_text`, `select_tokenizer` and `build_ctclip`.
    """
    text = read_text_encoder(config)
    config = replace(config, model=replace(config.model, bert=text_sizes(config.model.bert, text)))

    notes = [] if text is None else [text.summary]
    image = open_image_encoder(config)
    whole = open_model(Path(config.init_from)) if config.init_from else image
    cautions = dict.fromkeys([*([] if whole is None else [whole.disclaimer]), *([] if text is None else [text.caution])])
    config = replace(config, disclaimer=config.disclaimer or " ".join(filter(None, cautions)))

    def task(folder: Path) -> ContrastiveTask:
        tokenizer = Tokenizer.from_folder(folder / TOKENIZER)
        clip = build_ctclip(config, tokenizer, text) if image is None else build_image_text(config, image, tokenizer, text)
        contrastive = ContrastiveTask(clip, config, world, tokenizer=tokenizer)
        contrastive.starts = tuple(start for start in (whole, text) if start is not None)
        return contrastive

    def collate(folder: Path) -> PairCollator:
        return _pair_collator(
            folder, min(config.max_text_tokens, config.model.bert.max_tokens), words() if world.rank == 0 and not resume else ()
        )

    def files() -> dict[str, bytes]:
        return {f"{TOKENIZER}/{name}": content for name, content in select_tokenizer(config, text, words).files.items()}

    return Trainer(config, pairs, world, task=task, collate=collate, files=files, notes=notes, resume=resume, evaluate=evaluate)


def medfinder_run(
    config: MedFinderRunConfig,
    pairs: EpochDataset[Sample],
    world: World,
    *,
    words: Callable[[], Sequence[str]],
    resume: bool = False,
    evaluate: Callable[[DualEncoderTask], Evaluator] | None = None,
) -> Trainer:
    """Make a run that aligns two views of volumes with their reports.

    Args:
        config, pairs, world, resume, evaluate: as in `contrastive_run`.
        words: gives the texts of whose words a vocabulary is made, if the configuration names no text encoder.

    Raises:
        As `Trainer`, `load_pretrained_text` and `check_vocab_size`.
    """
    text = load_pretrained_text(Path(config.text)) if config.text else None
    model = config.model if text is None else replace(config.model, bert=text.described()[0])
    config = config if text is None else replace(config, disclaimer=config.disclaimer or text.caution)

    notes = [] if text is None else [text.summary]

    def task(folder: Path) -> MedFinderTask:
        tokenizer = Tokenizer.from_folder(folder / TOKENIZER)
        check_vocab_size(tokenizer, model.bert)
        finder = MedFinder(model)
        if text is not None:
            initialize_text(finder.text_transformer, text, config=model.bert)
        medfinder = MedFinderTask(finder, config, world, tokenizer=tokenizer)
        medfinder.starts = () if text is None else (text,)
        return medfinder

    def collate(folder: Path) -> PairCollator:
        reports = words() if world.rank == 0 and not resume and not config.crop_words else ()
        return _pair_collator(folder, min(config.max_text_tokens, model.bert.max_tokens), reports)

    def files() -> dict[str, bytes]:
        tokenizer = Tokenizer.from_words([*words(), *format_prompts()]) if text is None else text.described()[1]
        return {f"{TOKENIZER}/{name}": content for name, content in tokenizer.files.items()}

    return Trainer(config, pairs, world, task=task, collate=collate, files=files, notes=notes, resume=resume, evaluate=evaluate)


def _pair_collator(folder: Path, length: int, reports: Sequence[str]) -> PairCollator:
    """Make a collator with a run's tokenizer; how many of these reports it cuts is logged."""
    tokenizer = Tokenizer.from_folder(folder / TOKENIZER)
    if cut := tokenizer.count_cut(reports, max_length=length):
        _log.warning("%d of %d reports are longer than %d tokens: their ends are not trained on", cut, len(reports), length)
    return PairCollator(tokenizer, length)
