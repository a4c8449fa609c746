"""The contrastive task: its configuration, and its objective over gathered latents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from thoracle.cohort.samples.augment import Augmentation
from thoracle.errors import InputError
from thoracle.models.common.losses import contrastive_loss, logit_scale, pair_logits, sigmoid_loss
from thoracle.models.ctclip.config import CTCLIPConfig
from thoracle.models.ctclip.model import CTCLIP
from thoracle.models.imagetext.model import ImageTextEncoder
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.training.contrastive.dual_encoder import Latents
from thoracle.training.contrastive.gradient_cache import ContrastivePairTask, PairConfig
from thoracle.training.engine.config import HINT
from thoracle.training.engine.distributed import World

Loss = Literal["softmax", "sigmoid"]


@dataclass(frozen=True, kw_only=True)
class ContrastiveConfig(PairConfig):
    """Configure a contrastive run. Defaults are published (Hamamci et al., arXiv:2403.17834), but for negatives of other ranks.

    Attributes:
        model: sizes of the model; with `init_text_encoder`, sizes and dropout of its text encoder are those of that folder's config.json;
            with `init_image_encoder` only `bert` and `dim_latent` are used.
        init_from: CT-CLIP model folder to go on from, whose sizes and tokenizer then hold; "" for random weights.
        tokenizer: folder with the tokenizer's files; "" makes a vocabulary of the training reports' words, where nothing else has one.
        init_text_encoder: a pretrained text encoder: the model folder of a report classifier, a folder as the hub has it or of open_clip,
            whose tokenizer then holds, or a BERT's weights alone (`pytorch_model.bin`, `model.safetensors`, or the index of several
            files), of the sizes in `model`; "" for random ones.
        init_image_encoder: model folder of any kind that has latents, whose image side is gone on from in place of CT-CLIP's own; "" for
            CT-CLIP.
        locked: encoder that stays as it came: "image" (LiT, Zhai et al., arXiv:2111.07991), of which a linear map is learned, "text", or
            "none".
        augmentation: seeded changes to volumes; none by default, as published.
        loss: "softmax" is InfoNCE, decoupled or CLOOB's as the model says; "sigmoid" is SigLIP's (Zhai et al., arXiv:2303.15343).
        init_log_logit_scale: initial logarithm of the learned scale of logits; 2.66 is CLIP's scale of 14.3.
        init_logit_bias: initial bias of logits, which only the sigmoid loss learns.
        codebook_sync: move the codebook by the tokens of all ranks; false lets each rank's drift, as published.
    """

    TASK: ClassVar[str] = "contrastive"
    RESUME_MAY_CHANGE: ClassVar[frozenset[str]] = PairConfig.RESUME_MAY_CHANGE | {"init_text_encoder", "init_image_encoder"}

    model: CTCLIPConfig = field(default_factory=CTCLIPConfig)
    init_from: str = ""
    tokenizer: str = ""
    init_text_encoder: str = ""
    init_image_encoder: str = ""
    locked: Literal["none", "image", "text"] = "none"
    augmentation: Augmentation | None = None
    loss: Loss = "softmax"
    init_log_logit_scale: float = 1.0
    init_logit_bias: float = -10.0
    codebook_sync: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loss == "sigmoid" and (self.model.decoupled_loss or self.model.extra_latent_projection):
            raise InputError("decoupled_loss and extra_latent_projection belong to the softmax loss", hint=HINT, source="config")
        if self.locked == "image" and not self.init_image_encoder:
            detail = "an image encoder of random weights would stay random"
            raise InputError(detail, hint="Name a trained model as `init_image_encoder`.", source="config")
        if self.locked == "text" and not (self.init_text_encoder or self.init_from):
            detail = "a text encoder of random weights would stay random"
            raise InputError(detail, hint="Name a pretrained one as `init_text_encoder`.", source="config")
        if self.init_image_encoder:
            if self.init_from or self.model.extra_latent_projection:
                detail = "init_image_encoder begins a model of another kind, which has no init_from and no extra_latent_projection"
                raise InputError(detail, hint=HINT, source="config")
            return  # its own folder says which size it takes
        self.check_size((self.model.n_frames, self.model.ctvit.image_size, self.model.ctvit.image_size))


class ContrastiveTask(ContrastivePairTask):
    """Train a CT-CLIP, or another encoder's image side with a text encoder, to match texts and volumes.

    Attributes:
        bias: SigLIP's; learnt with the sigmoid loss only.
    """

    def __init__(self, clip: CTCLIP | ImageTextEncoder, config: ContrastiveConfig, world: World, *, tokenizer: Tokenizer) -> None:
        self._locked = _locked_part(clip, config.locked)
        if self._locked is not None:
            self._locked.requires_grad_(False)
        super().__init__(clip, config, world, tokenizer=tokenizer, codebook_sync=config.codebook_sync)
        self.config = config
        self.bias = nn.Parameter(torch.tensor(config.init_logit_bias, device=world.device), requires_grad=config.loss == "sigmoid")

    def train(self) -> None:
        """Begin a step; a locked encoder drops nothing out."""
        super().train()
        if self._locked is not None:
            self._locked.eval()

    def checkpoint_modules(self) -> nn.ModuleDict:
        """Return the encoders and `scalars.bias`."""
        return nn.ModuleDict({"clip": self.network, "scalars": nn.ParameterDict({"bias": self.bias})})

    def loss_parameters(self) -> Sequence[nn.Parameter]:
        """Return the temperature and the bias."""
        return (self.clip.temperature, self.bias)

    def loss(self, latents: Latents, excluded_BB: Tensor | None = None) -> Tensor:
        """Compute this rank's contrastive loss among pairs of all ranks or its own, as the config says; a scalar."""
        logits = pair_logits(self.gather_latents(latents), logit_scale(self.clip.temperature))
        if self.config.loss == "sigmoid":
            return sigmoid_loss(logits[0], self.bias, excluded_BB=excluded_BB)
        return contrastive_loss(*logits, decoupled=self.config.model.decoupled_loss, excluded_BB=excluded_BB)


def _locked_part(clip: CTCLIP | ImageTextEncoder, locked: str) -> nn.Module | None:
    """Return the encoder that does not learn."""
    if locked == "text":
        return clip.text_transformer
    return clip.encoder if locked == "image" and isinstance(clip, ImageTextEncoder) else None
