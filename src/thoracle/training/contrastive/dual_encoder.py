"""Train an encoder of volumes and texts, whatever the task: its parts over all ranks, its codes, its export."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from thoracle.ct.preprocess import Preprocessing
from thoracle.models.bundle.model_folder import ModelFolder, save_model
from thoracle.models.bundle.pretrained_text import PretrainedText
from thoracle.models.citations import derived_licence
from thoracle.models.common.losses import MOST_SCALE
from thoracle.models.encoder import EncodedText, TrainableEncoder
from thoracle.models.registry import spec_of
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.training.engine.config import RunConfig
from thoracle.training.engine.distributed import World, parallelize
from thoracle.training.engine.task import autocast
from thoracle.types import ABNORMALITIES

_PREFIX: Final = "clip."
_DATA: Final = "the data it was trained on"
Latents = tuple[Tensor, ...]


class DualEncoder(nn.Module):
    """Combine both encoders without the logit scale. The global loss applies the scale, so DDP and FSDP must not wrap it."""

    def __init__(self, clip: TrainableEncoder) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(dict(cast(nn.Module, clip).named_children()))
        self._encode = clip.encode_pair_latents

    def forward(self, input_ids_BN: Tensor, attention_mask_BN: Tensor, volume_B1ZHW: Tensor) -> Latents:
        """Encode pairs as `TrainableEncoder.encode_pair_latents`; DDP and FSDP take tensors only."""
        return self._encode(EncodedText(input_ids_BN=input_ids_BN, attention_mask_BN=attention_mask_BN), volume_B1ZHW)


class DualEncoderTask:
    """Hold what tasks on a `TrainableEncoder` have in common; a `Task` but for its objective.

    Attributes:
        clip: on the world's device; its weights are trained in place.
        network: `clip`, as a module.
        tokenizer: its words.
        towers: what encodes, over all ranks.
        codes: what a step's tokens would move the codes by.
        starts: what its weights come from, whose licences and citations go along; none for random weights.
    """

    starts: tuple[ModelFolder | PretrainedText, ...] = ()

    def __init__(
        self,
        clip: TrainableEncoder,
        *,
        tokenizer: Tokenizer,
        preprocess: Preprocessing,
        codebook_sync: bool,
        config: RunConfig,
        world: World,
    ) -> None:
        self.clip, self.network = clip, cast(nn.Module, clip).to(world.device)
        self.tokenizer, self.world = tokenizer, world
        self._preprocess, self._codebook_sync, self._config = preprocess, codebook_sync, config
        for parameter in clip.unused_parameters():  # what a task has frozen stays so
            parameter.requires_grad_(False)
        self.towers = parallelize(DualEncoder(clip), world, shard=config.parallelism == "fsdp", blocks=wrap_blocks(clip, config))
        self.codes = CodebookUpdater(clip)

    def checkpoint_modules(self) -> nn.ModuleDict:
        """Return the model; names are those of its weights, under `clip.`."""
        return nn.ModuleDict({"clip": self.network})

    def trainable_parameters(self) -> list[nn.Parameter]:
        """Return the trained parameters."""
        return [p for p in self.checkpoint_modules().parameters() if p.requires_grad]

    def text_parameters(self) -> list[nn.Parameter]:
        """Return the text encoder's parameters."""
        return list(self.clip.text_parameters())

    def train(self) -> None:
        """Begin a step in training mode."""
        self.network.train()

    def encode(self, input_ids_BN: Tensor, attention_mask_BN: Tensor, volume_B1ZHW: Tensor) -> Latents:
        """Encode pairs to latents in the run's precision, texts' first; with and without gradient."""
        with autocast(self._config.precision, self.world.device):
            latents = cast(Latents, self.towers(input_ids_BN, attention_mask_BN, volume_B1ZHW))
        return tuple(latent.float() for latent in latents)

    @torch.no_grad()
    def on_optimizer_step(self) -> None:
        """Clamp the temperature to its limit, beyond which no gradient would bring it back."""
        self.clip.temperature.clamp_(max=torch.tensor(MOST_SCALE).log().item())

    def rank_state(self) -> Mapping[str, Tensor]:
        """Return the codes, where each rank lets its own drift."""
        return {} if self._codebook_sync else self.codes.state()

    def load_rank_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Load this rank's codes."""
        if tensors and self.codes.codebook is not None:
            self.codes.codebook.load_state_dict(tensors)

    def update_codebook(self) -> None:
        """Update the codebook once a step, by the tokens of all ranks or of this one."""
        self.codes.apply(self.world if self._codebook_sync else None)

    def save_model(self, out: Path, weights: Mapping[str, Tensor], *, step: int) -> None:
        """Write the model folder."""
        save_model(
            out,
            kind=spec_of(self.clip).kind,
            config=self.clip.config,
            preprocess=self._preprocess,
            labels=ABNORMALITIES,
            tensors={name.removeprefix(_PREFIX): tensor for name, tensor in weights.items() if name.startswith(_PREFIX)},
            tokenizer=self.tokenizer,
            licence=derived_licence(*(start.licence for start in self.starts), data=_DATA),
            citations=[paper for start in self.starts for paper in start.citations],
            trained=True,
            caution=self._config.disclaimer,
            assumptions=(f"Trained for {step} steps.",),
        )


class CodebookUpdater:
    """Collect a step's codebook statistics over its first passes, and apply them once. `codebook` is None for models without codes."""

    def __init__(self, clip: TrainableEncoder) -> None:
        self.codebook = clip.codebook
        if self.codebook is not None:
            self.codebook.on_assignment = self._add
        self._counting = False
        self._sums: list[Tensor] = []

    def state(self) -> dict[str, Tensor]:
        """Return the codes, on the CPU."""
        return {} if self.codebook is None else {name: tensor.cpu() for name, tensor in self.codebook.state_dict().items()}

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Collect statistics of tokens that are encoded here for the first time in this step."""
        self._counting = True
        try:
            yield
        finally:
            self._counting = False

    def apply(self, world: World | None) -> None:
        """Apply the statistics of all ranks of `world`, or of this one."""
        if self.codebook is None:
            return
        if world is not None:
            self._sums = [world.all_reduce_sum(tensor) for tensor in self._sums]
        self.codebook.update_ema(*self._sums)
        self._sums = []

    def _add(self, counts_K: Tensor, sums_KD: Tensor) -> None:
        if self._counting:
            statistics = [counts_K, sums_KD]
            self._sums = [sum_ + more for sum_, more in zip(self._sums, statistics, strict=True)] if self._sums else statistics


def wrap_blocks(clip: TrainableEncoder, config: RunConfig) -> list[nn.Module]:
    """Prepare the model's layers for activation checkpointing or compilation, as the configuration says."""
    blocks = list(clip.transformer_blocks())
    for block in blocks:
        if config.activation_checkpointing:
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
        if config.compile:
            block.compile()
    return blocks
