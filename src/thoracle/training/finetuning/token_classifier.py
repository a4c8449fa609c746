"""A classifier on the tokens of any encoder: a head alone, low-rank additions to the encoder, or all of it.

Shapes: B volumes, K abnormalities, D width of tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import torch
from torch import Tensor, nn

from thoracle.errors import InputError
from thoracle.models.bundle.model_folder import ModelFolder, load_state_dict, save_model
from thoracle.models.citations import derived_licence
from thoracle.models.common.running_statistics import keep_statistics
from thoracle.models.encoder import Capability, VolumeEncoder
from thoracle.models.registry import REGISTRY
from thoracle.models.tokenclassifier.config import TokenClassifierConfig
from thoracle.models.tokenclassifier.model import TokenHead
from thoracle.models.tokenclassifier.spec import KIND
from thoracle.training.engine.distributed import World, parallelize
from thoracle.training.finetuning.classifier import ClassifierTask
from thoracle.training.finetuning.config import ClassifierConfig
from thoracle.training.finetuning.frozen_features import FeatureKind
from thoracle.training.finetuning.lora import add_lora, merge_lora
from thoracle.types import ABNORMALITIES

_ENCODER: Final = "encoder."
_HEAD: Final = "head."


def token_target(config: ClassifierConfig, start: ModelFolder) -> TokenClassifierConfig:
    """Return the configuration of the model that a run gives.

    Raises:
        InputError: a setting of CT-CLIP alone, or an encoder of codes that is not frozen.
    """
    if config.slice_pool != "inherit":
        raise InputError(f"is {start.spec.title}, which has no slice_pool", hint="Leave it, or set head to attention.", source=start.path)
    if Capability.CODES in start.capabilities and config.encoder != "frozen":
        detail = f"is {start.spec.title}, whose tokens are codes, through which nothing is learned here"
        raise InputError(detail, hint="Set encoder to frozen, or begin with a CT-CLIP.", source=start.path)
    if config.features == "tokens" and start.preprocess is not None and start.preprocess.varies:
        detail = f"is {start.spec.title}, which gives as many tokens as a scan has crops: only their mean is kept of a frozen encoder"
        raise InputError(detail, hint="Set head to linear.", source=start.path)
    kind, encoder = (start.config.encoder_kind, start.config.encoder) if start.kind == KIND else (start.kind, start.config)
    return TokenClassifierConfig(head=config.head, labels=ABNORMALITIES, encoder_kind=kind, encoder=encoder)


def load_start_encoder(model: TokenClassifierConfig, start: ModelFolder) -> nn.Module:
    """Load the encoder that a run begins with, in evaluation mode and without gradient."""
    encoder = REGISTRY[model.encoder_kind].build(model.encoder)
    tensors = load_state_dict(start)
    encoder.load_state_dict(_behind(_ENCODER, tensors) if start.kind == KIND else tensors)
    return encoder.eval().requires_grad_(False)


def token_parameters(model: TokenClassifierConfig, size: tuple[int, int, int]) -> frozenset[str]:
    """Name the parameters that tokens depend on, by a pass without values."""
    with torch.device("meta"):
        encoder = REGISTRY[model.encoder_kind].build(model.encoder).eval()
        tokens: Tensor = cast(VolumeEncoder, encoder).encode_volume(torch.empty(1, 1, *size)).tokens
        tokens.sum().backward()  # type: ignore[no-untyped-call]
    return frozenset(name for name, parameter in encoder.named_parameters() if parameter.grad is not None)


@torch.inference_mode()
def encode_tokens(encoder: nn.Module, volume_B1: Tensor, feature: FeatureKind) -> Tensor:
    """Compute what a head reads, on the CPU: the mean of tokens (B, D) float32 for "latents", or tokens (B, …, D) float16."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        tokens = cast(VolumeEncoder, encoder).encode_volume(volume_B1).tokens
    return tokens.flatten(1, -2).mean(dim=1).float().cpu() if feature == "latents" else tokens.half().cpu()


class TokenClassifierTask(ClassifierTask):
    """Train a head on tokens, and as much of the encoder as the configuration says."""

    def __init__(self, config: ClassifierConfig, world: World, *, start: ModelFolder, weights_K: Tensor) -> None:
        self.world, self._config, self._folder = world, config, start
        self._target = token_target(config, start)
        encoder = None if config.features != "volumes" else load_start_encoder(self._target, start)
        with torch.device("meta"):
            dim = cast(VolumeEncoder, REGISTRY[self._target.encoder_kind].build(self._target.encoder)).outputs.token_dim
        head = TokenHead(config.head, dim, labels=len(ABNORMALITIES))
        if start.kind == KIND and start.config.head == config.head and start.labels == ABNORMALITIES:
            head.load_state_dict(_behind(_HEAD, load_state_dict(start)))
        self._learning = {} if encoder is None else _learning_parts(encoder, config, self._target, start)
        self.network: Any = TokenNetwork(encoder, head).to(world.device)
        self._weights_K = weights_K.to(world.device)
        self._spread = parallelize(self.network, world, shard=False, blocks=())

    def save_model(self, out: Path, weights: Mapping[str, Tensor], *, step: int) -> None:
        """Write the encoder and the head. The task has these weights from now on."""
        self.checkpoint_modules().load_state_dict(weights)
        encoder: nn.Module | None = self.network.encoder
        tensors = load_start_encoder(self._target, self._folder).state_dict() if encoder is None else merge_lora(encoder)
        how = {"frozen": "a frozen encoder", "lora": "an encoder that was adapted (LoRA)", "full": "an encoder that was trained"}
        save_model(
            out,
            kind=KIND,
            config=self._target,
            preprocess=self._folder.preprocess,
            labels=ABNORMALITIES,
            tensors={
                **{f"{_ENCODER}{name}": tensor for name, tensor in tensors.items()},
                **{f"{_HEAD}{name}": tensor for name, tensor in self.network.head.state_dict().items()},
            },
            tokenizer=None,
            licence=derived_licence(self._folder.licence, data="the data it was trained on"),
            citations=self._folder.citations,
            trained=self._folder.trained,
            caution=self._config.disclaimer,
            assumptions=(f"Its classifier was trained for {step} steps on {how[self._config.encoder]}.",),
        )


class TokenNetwork(nn.Module):
    """Compute logits of volumes by the encoder and the head, or of kept tokens by the head alone."""

    def __init__(self, encoder: nn.Module | None, head: TokenHead) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def train(self, mode: bool = True) -> TokenNetwork:
        """Set the mode of all but what keeps running statistics."""
        super().train(mode)
        keep_statistics(self)
        return self

    def forward(self, given_B: Tensor) -> Tensor:
        """Return logits (B, K)."""
        tokens = given_B if self.encoder is None else cast(VolumeEncoder, self.encoder).encode_volume(given_B).tokens
        return cast(Tensor, self.head(tokens))


def _learning_parts(encoder: nn.Module, config: ClassifierConfig, model: TokenClassifierConfig, start: ModelFolder) -> dict[str, nn.Module]:
    """Return what of the encoder learns, made to; codes stay as they are."""
    assert start.preprocess is not None, "it takes volumes"
    for module in encoder.modules():
        if hasattr(module, "on_assignment"):
            cast(Any, module).on_assignment = lambda _, __: None
    used = token_parameters(model, start.preprocess.size)
    if config.encoder == "full":
        for name, parameter in encoder.named_parameters():
            parameter.requires_grad_(name in used)
        return {"encoder": encoder}
    layers = {name: module for name, module in encoder.named_modules() if isinstance(module, nn.Linear | nn.Conv3d)}
    return {"low_rank": add_lora([layer for name, layer in layers.items() if f"{name}.weight" in used], rank=config.lora_rank)}


def _behind(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
