"""Pairs of volumes and texts, whatever is asked of their latents: a step's gradients over the latents of all ranks.

Pairs of one scan, or of one text, are not each other's negatives.

A step's batch may be encoded in chunks (gradient caching, Gao et al., arXiv:2101.06983): latents without gradient first, then the loss's
gradient at the latents, then each chunk again with it. Dropout repeats, because the generators do, and so does rounding, because both
passes attend by the same kernels; codes move once, after the step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from thoracle.cohort.reports import Section
from thoracle.config_reader import NonNegativeInt, Range
from thoracle.ct.preprocess import PreprocessConfig, Preprocessing
from thoracle.errors import InputError
from thoracle.models.encoder import TrainableEncoder
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.training.contrastive.dual_encoder import DualEncoderTask, Latents
from thoracle.training.contrastive.retrieval_eval import PAIR_MONITORS
from thoracle.training.engine.config import HINT, BatchScope, RunConfig
from thoracle.training.engine.distributed import World, no_sync
from thoracle.training.engine.rng import Generators, get_rng_state, set_rng_state
from thoracle.training.engine.sampler import Batch


@dataclass(frozen=True, kw_only=True)
class PairConfig(RunConfig):
    """Configure what runs on pairs of volumes and reports share.

    Attributes:
        batch_size: pairs of a step, on each rank, that are compared with each other.
        cohort: folder that `thoracle prepare` wrote.
        preprocess: preprocessing of the model.
        section: section of a report that is read.
        gradient_cache_chunk: pairs that are encoded at once; 0 takes the whole batch. Fewer than `batch_size` is gradient caching (Gao et
            al., arXiv:2101.06983): the same loss and gradient in the memory of a chunk, for a second forward pass.
        max_text_tokens: tokens of a report; longer ones are cut.
        negatives: pairs that a pair is compared with: "global", of all ranks, or "local", of its own rank, as published.
    """

    RESUME_MAY_CHANGE: ClassVar[frozenset[str]] = RunConfig.RESUME_MAY_CHANGE | {"cohort", "gradient_cache_chunk"}
    MONITORS: ClassVar[tuple[str, ...]] = (*PAIR_MONITORS, *RunConfig.MONITORS)

    cohort: str = "cohort"
    preprocess: Preprocessing = field(default_factory=PreprocessConfig)
    section: Section = "findings"
    gradient_cache_chunk: NonNegativeInt = 0
    max_text_tokens: Annotated[int, Range(min=2)] = 512
    negatives: BatchScope = "global"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gradient_cache_chunk and self.batch_size % self.gradient_cache_chunk:
            detail = f"gradient_cache_chunk {self.gradient_cache_chunk} does not divide batch_size {self.batch_size}"
            raise InputError(detail, hint=HINT, source="config")
        if self.gradient_accumulation_steps > 1 and self.negatives == "global":
            detail = "accumulated batches do not see each other, so negatives cannot be global"
            hint = "Give a larger batch_size and a gradient_cache_chunk, or set negatives to local."
            raise InputError(detail, hint=hint, source="config")

    @property
    def compares_batch(self) -> bool:
        """Return whether negatives are of a rank's own batch."""
        return self.negatives == "local"

    @property
    def volumes_at_once(self) -> int:
        """Return the pairs of a chunk."""
        return self.gradient_cache_chunk or self.batch_size

    def check_size(self, size: tuple[int, int, int]) -> None:
        """Raise InputError where volumes are not of the size that the model takes."""
        if self.preprocess.size != size:
            raise InputError(f"preprocess.size is {self.preprocess.size}, but the model takes {size}", hint=HINT, source="config")


class ContrastivePairTask(DualEncoderTask, ABC):
    """Learn from pairs, by `loss`."""

    def __init__(
        self, clip: TrainableEncoder, config: PairConfig, world: World, *, tokenizer: Tokenizer, codebook_sync: bool = True
    ) -> None:
        super().__init__(clip, tokenizer=tokenizer, preprocess=config.preprocess, codebook_sync=codebook_sync, config=config, world=world)
        self._pairs = config

    @abstractmethod
    def loss(self, latents: Latents, excluded_BB: Tensor | None = None) -> Tensor:
        """Compute the loss of this rank's pairs from the latents of `encode`, with `excluded_pairs` of all that are compared; a scalar."""

    def loss_parameters(self) -> Sequence[nn.Parameter]:
        """Return the parameters that the loss learns, outside the encoders."""
        return (self.clip.temperature,)

    def gather_latents(self, latents: Latents) -> Latents:
        """Gather latents of all ranks, or return this one's, as the config says."""
        return tuple(self.world.all_gather(latent) for latent in latents) if self._pairs.negatives == "global" else latents

    def excluded_pairs(self, batch: Batch) -> Tensor | None:
        """Compute which pairs of all that are compared, (B, B), share a scan or a text with another; None where no batch says."""
        if batch.identity_B2 is None:
            return None
        identity_B2 = batch.identity_B2.to(self.world.device)
        if self._pairs.negatives == "global":
            identity_B2 = self.world.all_gather(identity_B2)
        return (identity_B2[:, None] == identity_B2).any(dim=-1).fill_diagonal_(False)

    def accumulate_gradients(self, batches: Sequence[Batch], *, loss_scale: float = 1.0) -> Tensor:
        """Add a step's gradients, and update the codes."""
        self.train()
        total = torch.zeros((), device=self.world.device)
        for number, batch in enumerate(batches):
            total += self._backward(batch, last=number == len(batches) - 1, loss_scale=loss_scale) / len(batches)
        for scalar in self.loss_parameters():
            if scalar.grad is not None:
                self.world.all_reduce_mean(scalar.grad)
        self.update_codebook()
        return self.world.all_reduce_mean(total)

    def _backward(self, batch: Batch, *, last: bool, loss_scale: float) -> Tensor:
        size = self._pairs.gradient_cache_chunk or len(batch)
        if size == len(batch):
            (chunk,) = batch.chunks(size, self.world.device)
            with no_sync(self.towers, apart=not last), self.codes.collecting():
                latents = self.encode(*chunk)
            loss, gradients = self._at_latents(latents, batch, loss_scale)
            torch.autograd.backward(latents, gradients)
            return loss
        with sdpa_kernel(_kernels(self.world.device)):
            return self._backward_in_chunks(batch, size, last=last, loss_scale=loss_scale)

    def _backward_in_chunks(self, batch: Batch, size: int, *, last: bool, loss_scale: float) -> Tensor:
        before, latents = self._encode_without_gradient(batch.chunks(size, self.world.device))
        loss, gradients = self._at_latents(latents, batch, loss_scale)
        after = get_rng_state(self.world.device)
        parts = zip(*(torch.split(gradient, size) for gradient in gradients), strict=True)
        again = batch.chunks(size, self.world.device)  # read again: a batch's volumes are more than a host or a device has room for
        for number, (states, part, chunk) in enumerate(zip(before, parts, again, strict=True), start=1):
            set_rng_state(states, self.world.device)
            with no_sync(self.towers, apart=not last or number < len(before)):
                torch.autograd.backward(self.encode(*chunk), part)
        set_rng_state(after, self.world.device)
        return loss

    def _at_latents(self, latents: Latents, batch: Batch, loss_scale: float) -> tuple[Tensor, list[Tensor]]:
        """The loss, and its scaled gradient at each of this rank's latents; the temperature's own is added on the way.

        Gradients of ranks are averaged later on: of a loss over all pairs each rank has only its own pairs' share, so it counts fully.
        """
        leaves = tuple(latent.detach().requires_grad_() for latent in latents)
        loss = self.loss(leaves, self.excluded_pairs(batch))
        (loss * loss_scale / self._pairs.gradient_accumulation_steps).backward()  # type: ignore[no-untyped-call]
        weight = self.world.size if self._pairs.negatives == "global" else 1
        return loss.detach(), [cast(Tensor, leaf.grad) * weight for leaf in leaves]

    @torch.no_grad()
    def _encode_without_gradient(self, chunks: Iterable[tuple[Tensor, Tensor, Tensor]]) -> tuple[list[Generators], Latents]:
        """The generators as they were before each chunk, and the latents of all."""
        before, gathered = [], []
        for chunk in chunks:
            before.append(get_rng_state(self.world.device))
            with self.codes.collecting():
                gathered.append(self.encode(*chunk))
        return before, tuple(torch.cat(parts) for parts in zip(*gathered, strict=True))


def _kernels(device: torch.device) -> list[SDPBackend]:
    """List kernels of attention that are chosen alike with gradient and without.

    cuDNN's, and the fused one of CPUs, refuse a bias that wants a gradient: the pass without would take them, the other could not, and
    latents that are rounded otherwise may be of other codes than those whose gradient is applied. Flash attention takes no bias on a GPU.
    """
    kernels = [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    return [SDPBackend.FLASH_ATTENTION, *kernels] if device.type == "cuda" else kernels
