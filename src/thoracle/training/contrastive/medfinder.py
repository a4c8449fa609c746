"""MedFinder's task: its configuration, the views of a volume, its objective over gathered latents.

Shapes: B pairs, V views (1 or 2), (Z, H, W) voxels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from thoracle.cohort.samples.augment import Augmentation
from thoracle.config_reader import NonNegativeInt, PositiveFloat, Range
from thoracle.ct.preprocess import to_input_units
from thoracle.errors import InputError
from thoracle.models.common.losses import consistency_loss, contrastive_loss, logit_scale, pair_logits
from thoracle.models.medfinder.config import MedFinderConfig, ResNetConfig
from thoracle.models.medfinder.model import MedFinder
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.training.contrastive.dual_encoder import Latents
from thoracle.training.contrastive.gradient_cache import ContrastivePairTask, PairConfig
from thoracle.training.engine.distributed import World


@dataclass(frozen=True, kw_only=True)
class MedFinderRunConfig(PairConfig):
    """Configure a MedFinder run. Sizes and amounts are published (Chen et al., arXiv:2403.15992), but for noise, which is in HU.

    Attributes:
        model: sizes of the model; with `text`, those of its text encoder are the files'.
        text: pretrained text encoder: a folder as transformers writes it, or a name on the hub (owner/name); "" for random weights and a
            vocabulary of the training reports' words.
        freeze_text_encoder: leave the text encoder as it came.
        views: augmented views of a volume in a step.
        augmentation: changes to a view, on the model's device.
        crop_words: length of the random run of words that is read of a report in a step; 0 reads all.
        contrastive_weight: weight of the contrastive loss beside the views' consistency.
    """

    TASK: ClassVar[str] = "medfinder"

    model: MedFinderConfig = field(default_factory=lambda: MedFinderConfig(resnet=ResNetConfig()))
    text: str = ""
    freeze_text_encoder: bool = True
    views: Annotated[int, Range(min=1, max=2)] = 2
    augmentation: Augmentation = field(default_factory=Augmentation)
    crop_words: NonNegativeInt = 100
    max_text_tokens: Annotated[int, Range(min=2)] = 128
    contrastive_weight: PositiveFloat = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.freeze_text_encoder and not self.text:
            detail = "a text encoder of random weights would stay random"
            raise InputError(detail, hint="Name a pretrained one as `text`, or set freeze_text_encoder to false.", source="config")
        self.check_size(self.model.size)


class MedFinderTask(ContrastivePairTask):
    """Train a MedFinder to match texts and volumes, and the two views of a volume."""

    def __init__(self, clip: MedFinder, config: MedFinderRunConfig, world: World, *, tokenizer: Tokenizer) -> None:
        clip.temperature.requires_grad_(False)  # a constant, as published
        clip.text_transformer.requires_grad_(not config.freeze_text_encoder)
        super().__init__(clip, config, world, tokenizer=tokenizer)
        self.config, self._text = config, clip.text_transformer

    def train(self) -> None:
        """Begin a step; a frozen text encoder drops nothing out."""
        super().train()
        self._text.train(not self.config.freeze_text_encoder)

    def encode(self, input_ids_BN: Tensor, attention_mask_BN: Tensor, volume_B1ZHW: Tensor) -> Latents:
        """Encode pairs, from views in training, else from the volume itself."""
        views_BVZHW = self.views(volume_B1ZHW) if self.network.training else volume_B1ZHW
        return super().encode(input_ids_BN, attention_mask_BN, views_BVZHW)

    @torch.no_grad()
    def views(self, volume_B1ZHW: Tensor) -> Tensor:
        """Draw views (B, V, Z, H, W) by torch's generators, which gradient caching resets; clipped to the preprocessing's window."""
        preprocess, volume_BZHW = self.config.preprocess, volume_B1ZHW[:, 0]
        low, high = (to_input_units(end, preprocess) for end in preprocess.hu_window)
        views = [self.config.augmentation.batch(volume_BZHW, pad=preprocess.pad_value) for _ in range(self.config.views)]
        return torch.stack(views, dim=1).clamp_(low, high)

    def loss(self, latents: Latents, excluded_BB: Tensor | None = None) -> Tensor:
        """Add the consistency loss of views and the weighted contrastive loss of texts and volumes."""
        text_BL, image_BL, *views = self.gather_latents(latents)
        logits = pair_logits((text_BL, image_BL), logit_scale(self.clip.temperature))
        loss = self.config.contrastive_weight * contrastive_loss(*logits, excluded_BB=excluded_BB)
        return loss + consistency_loss(*views) if views else loss
