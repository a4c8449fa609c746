"""The contrastive task: its configuration, and its objective over gathered latents; knows no data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from thoracle.cohort.augment import Augmentation
from thoracle.errors import InputError
from thoracle.models.config import build
from thoracle.models.ctclip import CTCLIP
from thoracle.models.ctclip_config import CTCLIPConfig
from thoracle.models.losses import contrastive_loss, logit_scale, pair_logits, sigmoid_loss
from thoracle.models.tokenizer import Tokenizer
from thoracle.training.clip import Latents
from thoracle.training.config import CURE, Reach
from thoracle.training.distributed import World
from thoracle.training.pairs import PairConfig, PairTask

Loss = Literal["softmax", "sigmoid"]


@dataclass(frozen=True, kw_only=True)
class ContrastiveConfig(PairConfig):
    """A contrastive run. The defaults are as published (Hamamci et al., arXiv:2403.17834), but for what other ranks see.

    Attributes:
        model: that is made.
        start: a CT-CLIP model folder to go on from, whose sizes and tokenizer then hold; "" for random weights.
        tokenizer: a folder with the tokenizer's files; "" makes a vocabulary of the training reports' words, where nothing else has one.
        text_weights: a pretrained text encoder: the model folder of a report classifier, a folder as the hub has it or of open_clip, whose
            tokenizer then holds, or a BERT's weights alone (`pytorch_model.bin`, `model.safetensors`); "" for random ones.
        augmentation: seeded changes to volumes; none by default, as published.
        loss: "softmax" is InfoNCE, decoupled or CLOOB's as the model says; "sigmoid" is SigLIP's.
        temperature, bias: where the learnt ones begin; the bias is SigLIP's only.
        codebook: "global", or "rank" as published.
    """

    MOVABLE: ClassVar[frozenset[str]] = PairConfig.MOVABLE | {"text_weights"}

    model: CTCLIPConfig = field(default_factory=CTCLIPConfig)
    start: str = ""
    tokenizer: str = ""
    text_weights: str = ""
    augmentation: Augmentation | None = None
    steps: int = 100_001
    loss: Loss = "softmax"
    temperature: float = 1.0
    bias: float = -10.0
    codebook: Reach = "global"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_choices(loss=("softmax", "sigmoid"), codebook=("global", "rank"))
        if self.loss == "sigmoid" and (self.model.decoupled_loss or self.model.extra_latent_projection):
            raise InputError("decoupled_loss and extra_latent_projection belong to the softmax loss", cure=CURE, source="config")
        self.check_size((self.model.n_frames, self.model.ctvit.image_size, self.model.ctvit.image_size))

    @classmethod
    def rooms(cls) -> dict[str, Callable[[Mapping[str, Any]], Any]]:
        """As in `RunConfig`."""
        return {
            **super().rooms(),
            "model": CTCLIPConfig.from_dict,
            "augmentation": lambda values: build(Augmentation, values, "augmentation"),
        }


class ContrastiveTask(PairTask):
    """A CT-CLIP that learns which text belongs to which volume.

    Attributes:
        bias: SigLIP's; learnt with the sigmoid loss only.
    """

    def __init__(self, clip: CTCLIP, config: ContrastiveConfig, world: World, *, tokenizer: Tokenizer) -> None:
        super().__init__(clip, config, world, tokenizer=tokenizer, codebook=config.codebook)
        self.config = config
        self.bias = nn.Parameter(torch.tensor(config.bias, device=world.device), requires_grad=config.loss == "sigmoid")

    def modules(self) -> nn.ModuleDict:
        """As in `Task`; also `scalars.bias`."""
        return nn.ModuleDict({"clip": self.network, "scalars": nn.ParameterDict({"bias": self.bias})})

    def scalars(self) -> Sequence[nn.Parameter]:
        """As in `PairTask`; also the bias."""
        return (self.clip.temperature, self.bias)

    def loss(self, latents: Latents) -> Tensor:
        """Of this rank's pairs, among those of all ranks or its own as the config says; a scalar."""
        logits = pair_logits(self.gathered(latents), logit_scale(self.clip.temperature))
        if self.config.loss == "sigmoid":
            return sigmoid_loss(logits[0], self.bias)
        return contrastive_loss(*logits, decoupled=self.config.model.decoupled_loss)
