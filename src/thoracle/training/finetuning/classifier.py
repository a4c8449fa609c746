"""A classifier on a CT-CLIP: LiPro (also ClassFine) as published (Hamamci et al., arXiv:2403.17834), and what it lacks.

What it is given depends on what learns: latents of a frozen encoder, its tokens, or volumes.

Shapes: B volumes, K abnormalities, L latent width; T, h, w, D as in `models.ctvit`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, cast

import torch
from torch import Tensor, nn

from thoracle.cohort.samples.dataset import Sample
from thoracle.ct.preprocess import Preprocessing
from thoracle.models.bundle.model_folder import TOKENIZER, ModelFolder, load_state_dict, save_model
from thoracle.models.citations import derived_licence
from thoracle.models.common.linear import Linear
from thoracle.models.common.losses import weighted_label_loss
from thoracle.models.ctclip.classifier import Head, build_head, classify_tokens, encoder_state, head_state, join_state
from thoracle.models.ctclip.config import CTCLIPConfig
from thoracle.models.ctclip.layers import CosineAttention, FeedForward
from thoracle.models.ctclip.model import CTCLIP
from thoracle.models.ctclip.spec import CLASSIFIER, CT_CLIP
from thoracle.training.contrastive.dual_encoder import wrap_blocks
from thoracle.training.engine.distributed import World, parallelize
from thoracle.training.engine.single_loss import WeightsOnlyTask, accumulate_losses
from thoracle.training.engine.task import PinnedBatch, autocast
from thoracle.training.feed.volume_feed import Volumes
from thoracle.training.finetuning.config import ClassifierConfig, Given
from thoracle.training.finetuning.frozen_features import FrozenSample, expand_tokens
from thoracle.training.finetuning.lora import add_lora, merge_lora
from thoracle.types import ABNORMALITIES

_NEW: Final = "slices."


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledBatch(PinnedBatch):
    """Hold latents, kept tokens or volumes (B, …), labels (B, K), and the samples' names."""

    given_B: Tensor | Volumes
    labels_BK: Tensor
    names: tuple[str, ...]


def collate_features(samples: Sequence[FrozenSample]) -> LabelledBatch:
    """Collate features into a batch."""
    return LabelledBatch(
        given_B=torch.stack([sample.features for sample in samples]),
        labels_BK=torch.stack([sample.labels_K for sample in samples]),
        names=tuple(sample.name for sample in samples),
    )


def collate_volumes(samples: Sequence[Sample], volumes: Volumes) -> LabelledBatch:
    """Collate labelled volumes into a batch."""
    return LabelledBatch(
        given_B=volumes, labels_BK=torch.stack([sample.labels for sample in samples]), names=tuple(sample.volume for sample in samples)
    )


class ClassifierTask(WeightsOnlyTask):
    """Train a head on labels, and as much of the encoder as the configuration says.

    Attributes:
        network: what gives logits, on the world's device.
        world: as `join` gives it.
    """

    def __init__(
        self,
        config: ClassifierConfig,
        world: World,
        *,
        start: ModelFolder | None,
        weights_K: Tensor,
        preprocess: Preprocessing | None = None,
    ) -> None:
        """Build the model, and load what it goes on from.

        Args:
            config, world: of the run.
            start: a CT-CLIP or a classifier, which gives all weights that it has; None for random ones.
            weights_K: of positives.
            preprocess: of the volumes, where there is no start to have it.
        """
        self.world, self._config, self._start = world, config, start
        self._model, self._preprocess = target_config(config, start), preprocess if start is None else start.preprocess
        head = build_head(self._model, n_labels=len(ABNORMALITIES))
        if start is not None and start.spec is CLASSIFIER and replace(start.config, slice_pool=self._model.slice_pool) == self._model:
            head.load_state_dict(head_state(load_state_dict(start)))
        # Nothing of the encoder is kept in memory where all that is seen is its latents.
        clip = None if config.features == "latents" else _clip(self._model, start)
        self._learning: dict[str, nn.Module] = {} if clip is None else learning_parts(clip, config)
        self.network = ClassifierNetwork(clip, head, config.features).to(world.device)
        self._weights_K = weights_K.to(world.device)
        self._spread = parallelize(self.network, world, shard=False, blocks=())

    def checkpoint_modules(self) -> nn.ModuleDict:
        """Return the trained modules alone."""
        return nn.ModuleDict({"head": self.network.head, **self._learning})

    def trainable_parameters(self) -> list[nn.Parameter]:
        """Return the trained parameters."""
        return [parameter for parameter in self.checkpoint_modules().parameters() if parameter.requires_grad]

    def text_parameters(self) -> list[nn.Parameter]:
        """Return none: no text is read."""
        return []

    def logits(self, given_B: Tensor) -> Tensor:
        """Compute (B, K) on the world's device in the run's precision; training or evaluation mode is the network's."""
        device = self.world.device
        with autocast(self._config.precision, device):
            return cast(Tensor, self._spread(given_B.to(device, non_blocking=True))).float()

    def accumulate_gradients(self, batches: Sequence[LabelledBatch], *, loss_scale: float = 1.0) -> Tensor:
        """Add a step's gradients."""
        self.network.train()

        def loss_of(batch: LabelledBatch) -> Tensor:
            given_B = next(iter(batch.given_B.split(len(batch.names))))
            return weighted_label_loss(self.logits(given_B), batch.labels_BK.to(self.world.device), self._weights_K) / len(batches)

        return accumulate_losses(self._spread, self.world, batches, loss_of, loss_scale=loss_scale)

    def save_model(self, out: Path, weights: Mapping[str, Tensor], *, step: int) -> None:
        """Write a file like the published ones, encoder and text encoder included. The task has these weights from now on."""
        self.checkpoint_modules().load_state_dict(weights)
        start, clip, head = self._start, self.network.clip, self.network.head
        encoders = {"frozen": "a frozen encoder", "lora": "an encoder that was adapted (LoRA)", "full": "an encoder that was trained"}
        notes = [f"Its classifier was trained for {step} steps on {encoders[self._config.encoder]}."]
        if start is None:
            notes.append("All began with random weights, and learnt from labels alone: its text encoder has learnt nothing.")
        save_model(
            out,
            kind=CLASSIFIER.kind,
            config=self._model,
            preprocess=self._preprocess,
            labels=ABNORMALITIES,
            tensors=join_state(clip_weights(cast(ModelFolder, start)) if clip is None else merge_lora(clip), head.state_dict()),
            tokenizer=start.tokenizer() if start is not None and (start.path / TOKENIZER).is_dir() else None,
            licence=derived_licence(*([] if start is None else [start.licence]), data="the data it was trained on"),
            citations=() if start is None else start.citations,
            trained=start is None or start.trained,  # a classifier on the latents of random weights is not a trained model
            caution=self._config.disclaimer,
            assumptions=notes,
        )


class ClassifierNetwork(nn.Module):
    """Compute logits of what is given; holds of the encoder only as much as that needs."""

    def __init__(self, clip: CTCLIP | None, head: Head, features: Given) -> None:
        super().__init__()
        self.clip, self.head, self._given = clip, head, features

    def forward(self, given_B: Tensor) -> Tensor:
        """Return logits (B, K)."""
        if self.clip is None:
            return cast(Tensor, self.head(given_B))
        if self._given == "tokens":
            return classify_tokens(self.clip, self.head, expand_tokens(self.clip, given_B))
        return classify_tokens(self.clip, self.head, self.clip.pooling_tokens(self.clip.visual_transformer(given_B)))


def target_config(config: ClassifierConfig, start: ModelFolder | None) -> CTCLIPConfig:
    """Return the configuration of the model that a run gives, whose encoder begins as `start`'s, or at random."""
    model = cast(CTCLIPConfig, config.model if start is None else start.config)
    slice_pool = model.slice_pool if config.slice_pool == "inherit" else config.slice_pool
    assert config.head != "attention", "refused of a CT-CLIP"
    return replace(model, slice_pool=slice_pool, head=config.head, label_self_attention=config.label_self_attention)


def clip_weights(folder: ModelFolder) -> dict[str, Tensor]:
    """Return the CT-CLIP weights of a CT-CLIP's or a classifier's folder, under CT-CLIP's own names."""
    tensors = load_state_dict(folder)
    return tensors if folder.spec is CT_CLIP else encoder_state(tensors)


def _clip(model: CTCLIPConfig, start: ModelFolder | None) -> CTCLIP:
    clip = CTCLIP(model)
    if start is None:
        return clip.requires_grad_(False)
    mismatch = clip.load_state_dict(clip_weights(start), strict=False)
    assert not mismatch.unexpected_keys
    assert all(name.startswith(_NEW) for name in mismatch.missing_keys), "an attention over slices that begins"
    return clip.requires_grad_(False)


def learning_parts(clip: CTCLIP, config: ClassifierConfig) -> dict[str, nn.Module]:
    """Return what of a frozen CT-CLIP learns, by name, made to."""
    tower, latent = clip.visual_transformer, config.head == "linear"
    if tower.codes is not None:
        tower.codes.on_assignment = lambda _, __: None  # codes stay: the gradient goes past them, to what tokens they are taken for
    if config.encoder != "frozen":
        wrap_blocks(clip, config)
    parts: dict[str, nn.Module] = {}
    if config.slice_pool == "attention" or (config.encoder == "full" and latent and clip.slices is not None):
        parts["slices"] = cast(nn.Module, clip.slices)
    if config.encoder == "full":
        behind = {"pool": clip.pool, "to_visual_latent": clip.to_visual_latent} if latent else {}
        parts |= {"visual_transformer": tower, **{name: part for name, part in behind.items() if part is not None}}
    for part in parts.values():
        part.requires_grad_(True)
    for parameter in clip.unused_parameters():
        parameter.requires_grad_(False)
    if config.encoder == "lora":
        layers = [module for module in tower.modules() if isinstance(module, CosineAttention | FeedForward)]
        maps = [module for layer in layers for module in layer.modules() if isinstance(module, Linear)]
        parts["low_rank"] = add_lora([*maps, *([clip.to_visual_latent] if latent else [])], rank=config.lora_rank)
    return parts
