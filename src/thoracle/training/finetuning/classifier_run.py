"""A classifier's run, made of a configuration and of a cohort: what a frozen encoder gives is computed first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from thoracle.cohort.samples.dataset import CohortDataset, Sample
from thoracle.ct.preprocess import Preprocessing
from thoracle.errors import CapabilityMissing, InputError
from thoracle.models.bundle.fingerprint import model_fingerprint
from thoracle.models.bundle.model_folder import ModelFolder
from thoracle.models.common.losses import positive_weights
from thoracle.models.ctclip.model import CTCLIP
from thoracle.models.ctclip.spec import CTCLIP_KINDS
from thoracle.models.encoder import Capability
from thoracle.models.registry import models_with
from thoracle.training.contrastive.zero_shot_eval import label_aurocs
from thoracle.training.engine.distributed import World
from thoracle.training.engine.sampler import EpochDataset, iterate_samples
from thoracle.training.engine.start_model import open_start_model, require_same_start, start_files
from thoracle.training.engine.trainer import Evaluator, Trainer
from thoracle.training.finetuning.classifier import (
    ClassifierTask,
    clip_weights,
    collate_features,
    collate_volumes,
)
from thoracle.training.finetuning.config import ClassifierConfig
from thoracle.training.finetuning.frozen_features import (
    FeatureDataset,
    FeatureKind,
    FrozenSample,
    encode_clip_feature,
    encode_frozen_features,
    feature_shape,
)
from thoracle.training.finetuning.token_classifier import TokenClassifierTask, encode_tokens, load_start_encoder, token_target

_CountDone = Callable[[int, int], None]


def classifier_run(
    config: ClassifierConfig,
    train: CohortDataset,
    dev: CohortDataset | None,
    world: World,
    *,
    resume: bool = False,
    encoded: _CountDone = lambda _, __: None,
) -> Trainer:
    """Make a run that trains a classifier; latents or tokens of a frozen encoder are computed first, if they are absent.

    Args:
        config: of the run.
        train: volumes that are trained on.
        dev: volumes that are evaluated on each `eval_every` steps; None does not evaluate.
        world: as `join` gives it.
        resume: as in `contrastive_run`.
        encoded: told how many volumes are encoded, of how many in all.

    Raises:
        CapabilityMissing: `init_from` has no tokens of volumes to classify.
        InputError: it or `model` was made for other volumes, or the configuration asks of it what it has not; or the run was begun from
            other weights.
        As `Trainer`, `open_model` and `load_state_dict`.
    """
    start = open_classifier_start(config, train.cohort.preprocess)
    if start is not None:
        require_same_start(Path(config.out), start)
        config = replace(config, disclaimer=config.disclaimer or start.disclaimer)
    sets = [volumes for volumes in (train, dev) if volumes is not None]
    labels = [_labels(volumes) for volumes in sets]
    data: list[EpochDataset[Any]] = [*sets]
    if start is not None and config.features != "volumes":
        features = _frozen(config, start, sets, world, encoded)
        data = [
            FeatureDataset(rows, y, [e.volume for e in entry_volumes.entries])
            for rows, y, entry_volumes in zip(features, labels, sets, strict=True)
        ]
    weights_K = positive_weights(labels[0])
    if config.pos_weight == "none":
        weights_K = torch.ones_like(weights_K)

    def task(_: Path) -> ClassifierTask:
        if start is not None and start.kind not in CTCLIP_KINDS:
            return TokenClassifierTask(config, world, start=start, weights_K=weights_K)
        return ClassifierTask(config, world, start=start, weights_K=weights_K, preprocess=train.cohort.preprocess)

    def evaluate(task: ClassifierTask) -> Evaluator:
        return ClassifierEvaluator(task, data[1], config=config)

    return Trainer(
        config,
        data[0],
        world,
        task=task,
        collate=lambda _: collate_volumes if config.volumes_at_once else collate_features,
        files=dict if start is None else partial(start_files, start),
        resume=resume,
        evaluate=None if dev is None else evaluate,
    )


class ClassifierEvaluator:
    """Evaluate AUROC of a classifier on a held-out split."""

    def __init__(self, task: ClassifierTask, data: EpochDataset[FrozenSample] | EpochDataset[Sample], *, config: ClassifierConfig) -> None:
        self._task, self._data, self._config = task, data, config

    def __call__(self) -> Mapping[str, float]:
        """Each rank answers for its share; all return the same numbers."""
        self._task.network.eval()
        world, gathered = self._task.world, []
        local = range(world.rank, len(self._data), world.size)
        batches = [local[first : first + self._config.batch_size] for first in range(0, len(local), self._config.batch_size)]
        for given_B, labels_BK in self._inputs(batches):
            gathered.append((self._task.network(given_B.to(world.device)).float().cpu(), labels_BK))
        every = [pair for rank in world.all_gather_object(gathered) for pair in rank]
        return label_aurocs(torch.cat([logits for logits, _ in every]), torch.cat([labels for _, labels in every]))

    def _inputs(self, batches: Sequence[Sequence[int]]) -> Iterator[tuple[Tensor, Tensor]]:
        if self._config.volumes_at_once:
            volumes = cast(EpochDataset[Sample], self._data)
            for samples, volume_B1ZHW in iterate_samples(volumes, batches, self._task.world.device, workers=self._config.num_workers):
                yield volume_B1ZHW, torch.stack([sample.labels for sample in samples])
        else:
            for indices in batches:
                batch = collate_features([cast(FrozenSample, self._data[index]) for index in indices])
                yield cast(Tensor, batch.given_B), batch.labels_BK


def open_classifier_start(config: ClassifierConfig, preprocess: Preprocessing) -> ModelFolder | None:
    """Open the model that a run goes on from, None for random weights; raises as `classifier_run`."""
    if config.model is not None:
        size = (config.model.n_frames, config.model.ctvit.image_size, config.model.ctvit.image_size)
        if preprocess.size != size:
            hint = "Prepare the cohort for it, or correct `model`."
            raise InputError(f"the cohort's volumes are of {preprocess.size}, but the model takes {size}", hint=hint, source="config")
        return None
    start = open_start_model(config.init_from, preprocess)
    is_clip, takes = start.kind in CTCLIP_KINDS, Capability.VOLUMES in start.capabilities
    if not takes or start.kind in ("regions", "image-text"):
        hint = f"Give a {models_with(Capability.VOLUMES)} model as `init_from`, but none of regions or image-text."
        raise CapabilityMissing(f"is {start.spec.title}, whose tokens are not classified", hint=hint, source=start.path)
    if is_clip and config.head == "attention":
        raise InputError("has slices to attend to: slice_pool, not head", hint="Set slice_pool to attention.", source=start.path)
    if not is_clip:
        token_target(config, start)
    return start


def _frozen(config: ClassifierConfig, start: ModelFolder, sets: list[CohortDataset], world: World, encoded: _CountDone) -> list[Tensor]:
    assert config.features != "volumes"
    encode, shape = _feature_encoder(config.features, config, start, world)
    total, before, parts = sum(map(len, sets)), 0, []
    for volumes in sets:
        parts.append(
            encode_frozen_features(
                encode,
                volumes,
                world,
                shape=shape,
                feature=config.features,
                keys=[entry.cache_sha256 for entry in volumes.entries],
                model_sha256=model_fingerprint(start),
                folder=config.latents_folder,
                batch=config.encode_batch_size,
                workers=config.num_workers,
                completed=lambda number, before=before: encoded(before + number, total),  # type: ignore[misc]
            )
        )
        before += len(volumes)
    return parts


def _feature_encoder(
    feature: FeatureKind, config: ClassifierConfig, start: ModelFolder, world: World
) -> tuple[Callable[[Tensor, FeatureKind], Tensor], tuple[int, ...] | None]:
    """Return what computes a feature, and its shape where that is known."""
    if start.kind not in CTCLIP_KINDS:
        return partial(encode_tokens, load_start_encoder(token_target(config, start), start).to(world.device)), None
    clip = CTCLIP(start.config)
    clip.load_state_dict(clip_weights(start))
    return partial(encode_clip_feature, clip.to(world.device).eval()), feature_shape(clip, feature)


def _labels(volumes: CohortDataset) -> Tensor:
    """(V, K), NaN where nobody says."""
    return torch.tensor([[float("nan") if label is None else float(label) for label in entry.labels] for entry in volumes.entries])
