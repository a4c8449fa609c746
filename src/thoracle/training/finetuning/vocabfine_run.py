"""Make a run of a configuration and labelled volumes: a CT-CLIP that learns labels as prompts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from thoracle.cohort.samples.dataset import Sample
from thoracle.ct.preprocess import Preprocessing
from thoracle.errors import InputError
from thoracle.models.bundle.model_folder import ModelFolder, load_state_dict
from thoracle.models.ctclip.model import CTCLIP
from thoracle.models.ctclip.spec import CT_CLIP
from thoracle.training.contrastive.dual_encoder import DualEncoderTask
from thoracle.training.engine.distributed import World
from thoracle.training.engine.sampler import EpochDataset
from thoracle.training.engine.start_model import open_start_model
from thoracle.training.engine.trainer import Evaluator, Trainer
from thoracle.training.finetuning.vocabfine import VocabFineConfig, VocabFineTask, collate_labelled


def vocabfine_run(
    config: VocabFineConfig,
    volumes: EpochDataset[Sample],
    world: World,
    *,
    preprocess: Preprocessing,
    resume: bool = False,
    evaluate: Callable[[DualEncoderTask], Evaluator] | None = None,
) -> Trainer:
    """Make a run that teaches a CT-CLIP labels as prompts.

    Args:
        config: of the run.
        volumes: what is trained on.
        world: as `join` gives it.
        preprocess: what the volumes went through.
        resume, evaluate: as in `contrastive_run`.

    Raises:
        InputError: `init_from` is no CT-CLIP, or was made for other volumes.
        As `Trainer`, `open_model` and `load_state_dict`.
    """
    start = open_vocabfine_start(config, preprocess)
    model, tokenizer = start.config, start.tokenizer()
    config = replace(config, disclaimer=config.disclaimer or start.disclaimer)

    def task(_: Path) -> VocabFineTask:
        clip = CTCLIP(model)
        clip.load_state_dict(load_state_dict(start))
        vocabfine = VocabFineTask(clip, config, world, tokenizer=tokenizer, preprocess=preprocess, templates=start.prompts)
        vocabfine.starts = (start,)
        return vocabfine

    return Trainer(config, volumes, world, task=task, collate=lambda _: collate_labelled, resume=resume, evaluate=evaluate)


def open_vocabfine_start(config: VocabFineConfig, preprocess: Preprocessing) -> ModelFolder:
    """Open the CT-CLIP that a run goes on from; raises as `vocabfine_run`."""
    start = open_start_model(config.init_from, preprocess)
    if start.spec is not CT_CLIP or not start.prompts:
        raise InputError("is no CT-CLIP, which VocabFine goes on from", hint="Give one as `init_from`.", source=start.path)
    return start
