"""The contrastive task: its configuration, its objective over gathered latents, and a step's gradients; knows no data set.

A step's batch may be encoded in chunks (gradient caching, Gao et al., arXiv:2101.06983): latents without gradient first, then the loss's
gradient at the latents, then each chunk again with it. Dropout repeats, because the generators do; codes move once, after the step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from thoracle.cohort.augment import Augmentation
from thoracle.cohort.reports import SECTIONS, Section
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.errors import InputError
from thoracle.models.config import CTCLIPConfig, build
from thoracle.models.ctclip import CTCLIP
from thoracle.models.losses import contrastive_loss, logit_scale, pair_logits, sigmoid_loss
from thoracle.models.tokenizer import Tokenizer
from thoracle.training.clip import ClipInTraining, Latents
from thoracle.training.config import CURE, Reach, RunConfig
from thoracle.training.data import Batch
from thoracle.training.distributed import World, keep_gradients
from thoracle.training.generators import Generators, generators, set_generators

Loss = Literal["softmax", "sigmoid"]


@dataclass(frozen=True, kw_only=True)
class ContrastiveConfig(RunConfig):
    """A contrastive run. The defaults are as published (Hamamci et al., arXiv:2403.17834), but for what other ranks see.

    Attributes:
        cohort: the folder that `thoracle prepare` wrote.
        model, preprocess: of the model that is made.
        start: a CT-CLIP model folder to go on from, whose sizes and tokenizer then hold; "" for random weights.
        tokenizer: a folder with the tokenizer's files; "" makes a vocabulary of the training reports' words, where nothing else has one.
        text_weights: a BERT's weights for the text encoder (`pytorch_model.bin`, `model.safetensors`), or the model folder of a report
            classifier, whose tokenizer then holds; "" for random ones.
        section: which of a report's words are read.
        augmentation: seeded changes to volumes; none by default, as published.
        batch: pairs of a step, on each rank, that are compared with each other.
        chunk: pairs that are encoded at once; 0 takes the whole batch. Fewer than `batch` is gradient caching (Gao et al.,
            arXiv:2101.06983): the same loss and gradient in the memory of a chunk, for a second forward pass.
        text_length: tokens of a report.
        loss: "softmax" is InfoNCE, decoupled or CLOOB's as the model says; "sigmoid" is SigLIP's.
        temperature, bias: where the learnt ones begin; the bias is SigLIP's only.
        negatives: "global", or "rank" as published.
        codebook: "global", or "rank" as published.
    """

    MOVABLE: ClassVar[frozenset[str]] = RunConfig.MOVABLE | {"cohort"}

    cohort: str = "cohort"
    model: CTCLIPConfig = field(default_factory=CTCLIPConfig)
    preprocess: PreprocessConfig = field(default_factory=PreprocessConfig)
    start: str = ""
    tokenizer: str = ""
    text_weights: str = ""
    section: Section = "findings"
    augmentation: Augmentation | None = None
    steps: int = 100_001
    chunk: int = 0
    text_length: int = 512
    loss: Loss = "softmax"
    temperature: float = 1.0
    bias: float = -10.0
    negatives: Reach = "global"
    codebook: Reach = "global"

    def __post_init__(self) -> None:
        super().__post_init__()
        reach = ("global", "rank")
        self.check_choices(loss=("softmax", "sigmoid"), negatives=reach, codebook=reach, section=SECTIONS)
        if self.text_length < 2 or self.chunk < 0 or (self.chunk and self.batch % self.chunk):
            raise InputError("text_length must be 2 or more, and chunk divide batch", cure=CURE, source="config")
        if self.accumulate > 1 and self.negatives == "global":
            fact = "accumulated batches do not see each other, so negatives cannot be global"
            raise InputError(fact, cure="Give a larger batch and a chunk, or set negatives to rank.", source="config")
        if self.loss == "sigmoid" and (self.model.decoupled_loss or self.model.extra_latent_projection):
            raise InputError("decoupled_loss and extra_latent_projection belong to the softmax loss", cure=CURE, source="config")
        size = (self.model.n_frames, self.model.ctvit.image_size, self.model.ctvit.image_size)
        if self.preprocess.size != size:
            raise InputError(f"preprocess.size is {self.preprocess.size}, but the model takes {size}", cure=CURE, source="config")

    @classmethod
    def rooms(cls) -> dict[str, Callable[[Mapping[str, Any]], Any]]:
        """As in `RunConfig`."""
        return {
            **super().rooms(),
            "model": CTCLIPConfig.from_dict,
            "preprocess": PreprocessConfig.from_dict,
            "augmentation": lambda values: build(Augmentation, values, "augmentation"),
        }


class ContrastiveTask(ClipInTraining):
    """A CT-CLIP that learns which text belongs to which volume.

    Attributes:
        bias: SigLIP's; learnt with the sigmoid loss only.
    """

    def __init__(self, clip: CTCLIP, config: ContrastiveConfig, world: World, *, tokenizer: Tokenizer) -> None:
        super().__init__(clip, tokenizer=tokenizer, preprocess=config.preprocess, codebook=config.codebook, config=config, world=world)
        self.config = config
        self.bias = nn.Parameter(torch.tensor(config.bias, device=world.device), requires_grad=config.loss == "sigmoid")

    def modules(self) -> nn.ModuleDict:
        """As in `Task`; also `scalars.bias`."""
        return nn.ModuleDict({"clip": self.clip, "scalars": nn.ParameterDict({"bias": self.bias})})

    def loss(self, latents: Latents) -> Tensor:
        """Of this rank's pairs, among those of all ranks or its own as the config says; a scalar."""
        if self.config.negatives == "global":
            latents = tuple(self.world.gather(latent) for latent in latents)
        logits = pair_logits(latents, logit_scale(self.clip.temperature))
        if self.config.loss == "sigmoid":
            return sigmoid_loss(logits[0], self.bias)
        return contrastive_loss(*logits, decoupled=self.clip.config.decoupled_loss)

    def backward(self, batches: Sequence[Batch]) -> Tensor:
        """As in `Task`; the codes move too."""
        self.clip.train()
        total = torch.zeros((), device=self.world.device)
        for number, batch in enumerate(batches):
            total += self._backward(batch, last=number == len(batches) - 1) / len(batches)
        for scalar in (self.clip.temperature, self.bias):
            if scalar.grad is not None:
                self.world.mean(scalar.grad)
        self.move_codes()
        return self.world.mean(total)

    def _backward(self, batch: Batch, *, last: bool) -> Tensor:
        chunks = list(batch.chunks(self.config.chunk or len(batch), self.world.device))
        if len(chunks) == 1:
            with keep_gradients(self.towers, apart=not last), self.codes.counted():
                latents = self.encode(*chunks[0])
            loss, gradients = self._at_latents(latents)
            torch.autograd.backward(latents, gradients)
            return loss
        before, latents = self._encode_without_gradient(chunks)
        loss, gradients = self._at_latents(latents)
        after = generators(self.world.device)
        parts = zip(*(torch.split(gradient, len(chunks[0][0])) for gradient in gradients), strict=True)
        for number, (chunk, states, part) in enumerate(zip(chunks, before, parts, strict=True)):
            set_generators(states, self.world.device)
            with keep_gradients(self.towers, apart=not last or number < len(chunks) - 1):
                torch.autograd.backward(self.encode(*chunk), part)
        set_generators(after, self.world.device)
        return loss

    def _at_latents(self, latents: Latents) -> tuple[Tensor, list[Tensor]]:
        """The loss, and its gradient at each of this rank's latents; the temperature's own is added on the way.

        Gradients of ranks are averaged later on: of a loss over all pairs each rank has only its own pairs' share, so it counts fully.
        """
        leaves = tuple(latent.detach().requires_grad_() for latent in latents)
        loss = self.loss(leaves)
        (loss / self.config.accumulate).backward()  # type: ignore[no-untyped-call]
        weight = self.world.size if self.config.negatives == "global" else 1
        return loss.detach(), [cast(Tensor, leaf.grad) * weight for leaf in leaves]

    @torch.no_grad()
    def _encode_without_gradient(self, chunks: list[tuple[Tensor, Tensor, Tensor]]) -> tuple[list[Generators], Latents]:
        """The generators as they were before each chunk, and the latents of all."""
        before, found = [], []
        for chunk in chunks:
            before.append(generators(self.world.device))
            with self.codes.counted():
                found.append(self.encode(*chunk))
        return before, tuple(torch.cat(parts) for parts in zip(*found, strict=True))
