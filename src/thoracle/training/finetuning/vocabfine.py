"""VocabFine: a CT-CLIP learns labels as prompts, and stays open to any words (Hamamci et al., arXiv:2403.17834).

A scan is encoded once for all prompts, and all prompts once for a batch. Published training encodes it once for each few labels.

Shapes: B volumes, K abnormalities; N tokens of a prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from thoracle.cohort.samples.augment import Augmentation
from thoracle.cohort.samples.dataset import Sample
from thoracle.ct.preprocess import Preprocessing
from thoracle.errors import InputError
from thoracle.models.common.losses import logit_scale, prompt_loss
from thoracle.models.common.prompts import format_prompts
from thoracle.models.ctclip.model import CTCLIP
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.training.contrastive.dual_encoder import DualEncoderTask
from thoracle.training.engine.config import HINT, RunConfig
from thoracle.training.engine.distributed import World
from thoracle.training.engine.single_loss import accumulate_losses
from thoracle.training.engine.task import PinnedBatch
from thoracle.training.feed.volume_feed import Volumes


@dataclass(frozen=True, kw_only=True)
class VocabFineConfig(RunConfig):
    """Configure a VocabFine run.

    Attributes:
        cohort: folder that `thoracle prepare` wrote.
        init_from: CT-CLIP model folder to go on from; its prompts, words and preprocessing hold.
        augmentation: seeded changes to volumes; none by default, as published.
        loss: loss of a pair of prompts: "cross-entropy", or "squared" as published.
        codebook_sync: move the codebook by the tokens of all ranks; false lets each rank's drift, as published.
    """

    TASK: ClassVar[str] = "vocabfine"
    RESUME_MAY_CHANGE: ClassVar[frozenset[str]] = RunConfig.RESUME_MAY_CHANGE | {"cohort", "init_from"}

    cohort: str = "cohort"
    init_from: str = "model"
    augmentation: Augmentation | None = None
    loss: Literal["cross-entropy", "squared"] = "cross-entropy"
    codebook_sync: bool = True

    @property
    def volumes_at_once(self) -> int:
        """Return the volumes of a batch."""
        return self.batch_size

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.init_from:
            raise InputError("VocabFine goes on from a model", hint=f"{HINT[:-1]}: name its folder as `init_from`.", source="config")


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledVolumes(PinnedBatch):
    """Hold volumes (B, 1, z, x, y), their labels (B, K), and the samples' names."""

    volume_B1ZHW: Volumes
    labels_BK: Tensor
    names: tuple[str, ...]


def collate_labelled(samples: Sequence[Sample], volumes: Volumes) -> LabelledVolumes:
    """Collate labelled volumes into a batch."""
    return LabelledVolumes(
        volume_B1ZHW=volumes,
        labels_BK=torch.stack([sample.labels for sample in samples]),
        names=tuple(sample.volume for sample in samples),
    )


class VocabFineTask(DualEncoderTask):
    """Train a CT-CLIP to tell with which of two prompts a volume agrees."""

    def __init__(
        self,
        clip: CTCLIP,
        config: VocabFineConfig,
        world: World,
        *,
        tokenizer: Tokenizer,
        preprocess: Preprocessing,
        templates: Sequence[str],
    ) -> None:
        super().__init__(clip, tokenizer=tokenizer, preprocess=preprocess, codebook_sync=config.codebook_sync, config=config, world=world)
        self.config = config
        self._prompts = tokenizer.encode(format_prompts(templates=templates), max_length=clip.max_text_tokens)

    def accumulate_gradients(self, batches: Sequence[LabelledVolumes], *, loss_scale: float = 1.0) -> Tensor:
        """Add a step's gradients, and update the codes."""
        self.train()
        device, squared = self.world.device, self.config.loss == "squared"

        def loss_of(batch: LabelledVolumes) -> Tensor:
            ids, mask = self._prompts.input_ids_BN.to(device), self._prompts.attention_mask_BN.to(device)
            volume_B1ZHW = next(iter(batch.volume_B1ZHW.split(len(batch.names))))
            with self.codes.collecting():
                text_2KL, image_BL = self.encode(ids, mask, volume_B1ZHW.to(device, non_blocking=True))[:2]
            scale = logit_scale(self.clip.temperature)
            return prompt_loss(text_2KL, image_BL, batch.labels_BK.to(device), scale, squared=squared) / len(batches)

        mean = accumulate_losses(self.towers, self.world, batches, loss_of, loss_scale=loss_scale)
        if self.clip.temperature.grad is not None:
            self.world.all_reduce_mean(self.clip.temperature.grad)
        self.update_codebook()
        return mean
