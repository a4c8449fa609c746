"""Make a run of a configuration and volumes: a student of a CT-CLIP, whose latents of all volumes are computed first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from thoracle.cohort.samples.dataset import CohortDataset
from thoracle.errors import InputError
from thoracle.models.bundle.fingerprint import model_fingerprint
from thoracle.models.bundle.model_folder import load_state_dict
from thoracle.models.ctclip.model import CTCLIP
from thoracle.models.ctclip.spec import CT_CLIP
from thoracle.training.engine.distributed import World
from thoracle.training.engine.start_model import open_start_model, require_same_start, start_files
from thoracle.training.engine.trainer import Evaluator, Trainer
from thoracle.training.finetuning.distillation import DistillationConfig, DistillationTask, build_student
from thoracle.training.finetuning.frozen_features import encode_clip_feature, encode_frozen_features, feature_shape
from thoracle.training.finetuning.vocabfine import collate_labelled

_CAUTION: Final = "A student: it was trained to give another model's latents, and answers otherwise where it does not."


def distillation_run(
    config: DistillationConfig,
    volumes: CohortDataset,
    world: World,
    *,
    resume: bool = False,
    evaluate: Callable[[DistillationTask], Evaluator] | None = None,
    encoded: Callable[[int, int], None] = lambda _, __: None,
) -> Trainer:
    """Make a run that trains a student; the teacher's latents are computed first, if they are absent.

    Args:
        config: of the run.
        volumes: what is trained on, without augmentation: latents are of unchanged volumes.
        world: as `join` gives it.
        resume, evaluate: as in `contrastive_run`.
        encoded: told how many volumes are encoded, of how many in all.

    Raises:
        InputError: `init_from` is no CT-CLIP, or was made for other volumes, or the student would take such; or the run was begun from
            another teacher.
        As `Trainer`, `open_model` and `load_state_dict`.
    """
    teacher = open_start_model(config.init_from, volumes.cohort.preprocess)
    if teacher.spec is not CT_CLIP:
        raise InputError("is no CT-CLIP, which students are taught by", hint="Give one as `init_from`.", source=teacher.path)
    require_same_start(Path(config.out), teacher)
    build_student(config, teacher)  # what cannot be built is said before volumes are encoded
    disclaimer = config.disclaimer or teacher.disclaimer
    config = replace(config, disclaimer=disclaimer if _CAUTION in disclaimer else f"{disclaimer} {_CAUTION}".strip())
    network = CTCLIP(teacher.config)
    network.load_state_dict(load_state_dict(teacher))
    latents_VL = encode_frozen_features(
        partial(encode_clip_feature, network.to(world.device).eval()),
        volumes,
        world,
        shape=feature_shape(network, "latents"),
        feature="latents",
        keys=[entry.cache_sha256 for entry in volumes.entries],
        model_sha256=model_fingerprint(teacher),
        folder=config.latents_folder,
        batch=config.encode_batch_size,
        workers=config.num_workers,
        completed=lambda number: encoded(number, len(volumes)),
    )
    names = [entry.volume for entry in volumes.entries]

    def task(_: Path) -> DistillationTask:
        return DistillationTask(build_student(config, teacher), config, world, teacher=teacher, latents_VL=latents_VL, names=names)

    return Trainer(
        config,
        volumes,
        world,
        task=task,
        collate=lambda _: collate_labelled,
        files=partial(start_files, teacher),
        resume=resume,
        evaluate=evaluate,
    )
