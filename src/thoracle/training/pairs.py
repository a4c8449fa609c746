"""Pairs of volumes and texts, whatever is asked of their latents: a step's gradients over the latents of all ranks; knows no objective.

A step's batch may be encoded in chunks (gradient caching, Gao et al., arXiv:2101.06983): latents without gradient first, then the loss's
gradient at the latents, then each chunk again with it. Dropout repeats, because the generators do; codes move once, after the step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from thoracle.cohort.reports import SECTIONS, Section
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.errors import InputError
from thoracle.models.encoder import TrainableEncoder
from thoracle.models.tokenizer import Tokenizer
from thoracle.training.clip import ClipInTraining, Latents
from thoracle.training.config import CURE, Reach, RunConfig
from thoracle.training.data import Batch
from thoracle.training.distributed import World, keep_gradients
from thoracle.training.generators import Generators, generators, set_generators


@dataclass(frozen=True, kw_only=True)
class PairConfig(RunConfig):
    """What runs on pairs have in common.

    Attributes:
        cohort: the folder that `thoracle prepare` wrote.
        preprocess: of the model that is made.
        section: which of a report's words are read.
        batch: pairs of a step, on each rank, that are compared with each other.
        chunk: pairs that are encoded at once; 0 takes the whole batch. Fewer than `batch` is gradient caching (Gao et al.,
            arXiv:2101.06983): the same loss and gradient in the memory of a chunk, for a second forward pass.
        text_length: tokens of a report.
        negatives: "global", or "rank" as published.
    """

    MOVABLE: ClassVar[frozenset[str]] = RunConfig.MOVABLE | {"cohort"}

    cohort: str = "cohort"
    preprocess: PreprocessConfig = field(default_factory=PreprocessConfig)
    section: Section = "findings"
    chunk: int = 0
    text_length: int = 512
    negatives: Reach = "global"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_choices(negatives=("global", "rank"), section=SECTIONS)
        if self.text_length < 2 or self.chunk < 0 or (self.chunk and self.batch % self.chunk):
            raise InputError("text_length must be 2 or more, and chunk divide batch", cure=CURE, source="config")
        if self.accumulate > 1 and self.negatives == "global":
            fact = "accumulated batches do not see each other, so negatives cannot be global"
            raise InputError(fact, cure="Give a larger batch and a chunk, or set negatives to rank.", source="config")

    def check_size(self, size: tuple[int, int, int]) -> None:
        """Raises InputError where volumes are not of the size that the model takes."""
        if self.preprocess.size != size:
            raise InputError(f"preprocess.size is {self.preprocess.size}, but the model takes {size}", cure=CURE, source="config")

    @classmethod
    def rooms(cls) -> dict[str, Callable[[Mapping[str, Any]], Any]]:
        """As in `RunConfig`."""
        return {**super().rooms(), "preprocess": PreprocessConfig.from_dict}


class PairTask(ClipInTraining, ABC):
    """Learns from pairs, by `loss`."""

    def __init__(
        self, clip: TrainableEncoder, config: PairConfig, world: World, *, tokenizer: Tokenizer, codebook: Reach = "global"
    ) -> None:
        super().__init__(clip, tokenizer=tokenizer, preprocess=config.preprocess, codebook=codebook, config=config, world=world)
        self._pairs = config

    @abstractmethod
    def loss(self, latents: Latents) -> Tensor:
        """Of this rank's pairs, whose latents `encode` gave; a scalar."""

    def scalars(self) -> Sequence[nn.Parameter]:
        """Those that are learnt at the loss, which sees no tower."""
        return (self.clip.temperature,)

    def gathered(self, latents: Latents) -> Latents:
        """Those of all ranks, or this one's own, as the config says."""
        return tuple(self.world.gather(latent) for latent in latents) if self._pairs.negatives == "global" else latents

    def backward(self, batches: Sequence[Batch]) -> Tensor:
        """As in `Task`; the codes move too."""
        self.train()
        total = torch.zeros((), device=self.world.device)
        for number, batch in enumerate(batches):
            total += self._backward(batch, last=number == len(batches) - 1) / len(batches)
        for scalar in self.scalars():
            if scalar.grad is not None:
                self.world.mean(scalar.grad)
        self.move_codes()
        return self.world.mean(total)

    def _backward(self, batch: Batch, *, last: bool) -> Tensor:
        chunks = list(batch.chunks(self._pairs.chunk or len(batch), self.world.device))
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
        (loss / self._pairs.accumulate).backward()  # type: ignore[no-untyped-call]
        weight = self.world.size if self._pairs.negatives == "global" else 1
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
