"""The contrastive task: CT-CLIP's trained parts, its objective over gathered latents, and a step's gradients; knows no data set.

A step's batch may be encoded in chunks (gradient caching, Gao et al., arXiv:2101.06983): latents without gradient first, then the loss's
gradient at the latents, then each chunk again with it. Dropout repeats, because the generators do; codes move once, after the step.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from thoracle.models.codebook import Codebook
from thoracle.models.ctclip import CTCLIP
from thoracle.models.layers import CosineAttention, FeedForward
from thoracle.models.losses import MOST_SCALE, contrastive_loss, logit_scale, pair_logits, sigmoid_loss
from thoracle.models.text import Layer
from thoracle.training.config import ContrastiveConfig
from thoracle.training.data import Batch
from thoracle.training.distributed import World, keep_gradients, spread

#: Carried because published files hold them: they reach no loss, and get no gradient, moments or messages between ranks.
_UNUSED: Final = re.compile(r"to_patch_emb_first_frame|to_pixels|context_norm|null_kv|\.pooler\.")
_EXTRA: Final = re.compile(r"_extra\.")
Latents = tuple[Tensor, ...]
Generators = list[Tensor]
#: Texts' ids and mask, and volumes, to latents: what an evaluation during training is given.
Encode = Callable[[Tensor, Tensor, Tensor], Latents]


class Towers(nn.Module):
    """All of a CT-CLIP but its temperature, which no forward pass of a rank's own pairs needs: it belongs to the loss of all pairs."""

    def __init__(self, clip: CTCLIP) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(dict(clip.named_children()))
        self._encode = clip.encode_pairs

    def forward(self, input_ids_BN: Tensor, attention_mask_BN: Tensor, volume_B1ZHW: Tensor) -> Latents:
        """As `CTCLIP.encode_pairs`."""
        return self._encode(input_ids_BN, attention_mask_BN, volume_B1ZHW)


class ContrastiveTask:
    """A model in training.

    Attributes:
        clip: on the world's device; its weights are trained in place.
        bias: SigLIP's; learnt with the sigmoid loss only.
    """

    def __init__(self, clip: CTCLIP, config: ContrastiveConfig, world: World) -> None:
        self.clip = clip.to(world.device)
        self.config, self.world = config, world
        self.bias = nn.Parameter(torch.tensor(config.bias, device=world.device), requires_grad=config.loss == "sigmoid")
        _freeze_unused(clip)
        blocks = [m for m in clip.modules() if isinstance(m, CosineAttention | FeedForward | Layer)]
        for block in blocks:
            if config.checkpoint_activations:
                block.forward = partial(checkpoint, block.forward, use_reentrant=False)  # type: ignore[method-assign]
            if config.compile:
                block.compile()
        self.towers = spread(Towers(clip), world, shard=config.parallel == "shard", blocks=blocks)
        self._codes = _Codes(clip)

    def modules(self) -> nn.ModuleDict:
        """All that a checkpoint holds, as one module: names are those of CT-CLIP's weights, under `clip.`, and `scalars.bias`."""
        return nn.ModuleDict({"clip": self.clip, "scalars": nn.ParameterDict({"bias": self.bias})})

    def parameters(self) -> list[nn.Parameter]:
        """Those that are trained."""
        return [p for p in self.modules().parameters() if p.requires_grad]

    def codebook(self) -> Codebook:
        """The model's."""
        return self._codes.book

    def encode(self, input_ids_BN: Tensor, attention_mask_BN: Tensor, volume_B1ZHW: Tensor) -> Latents:
        """Latents in the run's precision; with and without gradient."""
        bf16 = self.config.precision == "bf16"
        with torch.autocast(self.world.device.type, torch.bfloat16, enabled=bf16):
            latents = cast(Latents, self.towers(input_ids_BN, attention_mask_BN, volume_B1ZHW))
        return tuple(latent.float() for latent in latents)

    def loss(self, latents: Latents) -> Tensor:
        """Of this rank's pairs, among those of all ranks or its own as the config says; a scalar."""
        if self.config.negatives == "global":
            latents = tuple(self.world.gather(latent) for latent in latents)
        logits = pair_logits(latents, logit_scale(self.clip.temperature))
        if self.config.loss == "sigmoid":
            return sigmoid_loss(logits[0], self.bias)
        return contrastive_loss(*logits, decoupled=self.clip.config.decoupled_loss)

    def backward(self, batches: Iterable[Batch]) -> Tensor:
        """Add a step's gradients, averaged over its batches and ranks, and move the codes; returns the loss, a scalar without gradient."""
        self.clip.train()
        total = torch.zeros((), device=self.world.device)
        todo = list(batches)
        for number, batch in enumerate(todo):
            total += self._backward(batch, last=number == len(todo) - 1) / len(todo)
        for scalar in (self.clip.temperature, self.bias):
            if scalar.grad is not None:
                self.world.mean(scalar.grad)
        self._codes.move(self.world if self.config.codebook == "global" else None)
        return self.world.mean(total)

    @torch.no_grad()
    def hold_temperature(self) -> None:
        """Within its limit: beyond it no gradient would bring it back."""
        self.clip.temperature.clamp_(max=torch.tensor(MOST_SCALE).log().item())

    def _backward(self, batch: Batch, *, last: bool) -> Tensor:
        chunks = list(batch.chunks(self.config.chunk or len(batch), self.world.device))
        if len(chunks) == 1:
            with keep_gradients(self.towers, apart=not last), self._codes.counted():
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
            with self._codes.counted():
                found.append(self.encode(*chunk))
        return before, tuple(torch.cat(parts) for parts in zip(*found, strict=True))


class _Codes:
    """What a step's tokens would move the codes by: added up over its first passes, and applied once."""

    def __init__(self, clip: CTCLIP) -> None:
        self.book = cast(Codebook, clip.visual_transformer.vq["_codebook"])
        self.book.collect = self._add
        self._counting = False
        self._sums: list[Tensor] = []

    @contextmanager
    def counted(self) -> Iterator[None]:
        """What is encoded here has not been encoded before in this step."""
        self._counting = True
        try:
            yield
        finally:
            self._counting = False

    def move(self, world: World | None) -> None:
        """By the tokens of all ranks of `world`, or of this one."""
        if world is not None:
            self._sums = [world.total(tensor) for tensor in self._sums]
        self.book.move(*self._sums)
        self._sums = []

    def _add(self, counts_K: Tensor, sums_KD: Tensor) -> None:
        if self._counting:
            told = [counts_K, sums_KD]
            self._sums = [sum_ + more for sum_, more in zip(self._sums, told, strict=True)] if self._sums else told


def _freeze_unused(clip: CTCLIP) -> None:
    for name, parameter in clip.named_parameters():
        extra = _EXTRA.search(name) is not None and not clip.config.extra_latent_projection
        parameter.requires_grad_(_UNUSED.search(name) is None and not extra)


def generators(device: torch.device) -> Generators:
    """The states of all that dropout draws from."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def set_generators(states: Generators, device: torch.device) -> None:
    """As `generators` gave them."""
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)
