"""Load the encoder of a model folder on a device and in a precision, and its tokenizer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch

from thoracle.errors import CapabilityMissing, InputError, TokenizerMissing
from thoracle.models.bundle.model_folder import ModelFolder, load_state_dict
from thoracle.models.encoder import Capability, VolumeEncoder
from thoracle.models.registry import models_with
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.models.weights.precision import to_bfloat16


def load_encoder(folder: ModelFolder, *, device: torch.device, precision: str) -> VolumeEncoder:
    """Load a folder's module in evaluation mode. Weights stay mapped from the file until they are moved or lowered.

    Raises:
        CapabilityMissing: the model does not take volumes.
        ModelError: the weights are damaged.
    """
    if Capability.VOLUMES not in folder.capabilities:
        hint = f"Give a {models_with(Capability.VOLUMES)} model."
        raise CapabilityMissing(f"is {folder.spec.title}, which takes no volume", hint=hint, source=folder.path)
    with torch.device("meta"):
        module = folder.spec.build(folder.config)
    module.load_state_dict(load_state_dict(folder), assign=True)
    module.eval().requires_grad_(False).to(device)
    return cast(VolumeEncoder, to_bfloat16(module, torch.bfloat16) if precision == "bf16" else module)


def load_tokenizer(folder: ModelFolder) -> Tokenizer:
    """Load a folder's tokenizer.

    Raises:
        TokenizerMissing: it is not there, or has tokens that the model does not know.
    """
    tokenizer, rules = folder.tokenizer(), folder.spec.text_rules
    assert rules is not None, "a model that reads text has rules for it"
    entries = rules.vocab_size(folder.config)
    if tokenizer.vocab_size > entries:
        raise TokenizerMissing(
            f"the tokenizer has {tokenizer.vocab_size:,} tokens, the model knows {entries:,}: it is another model's",
            hint="Import the model again with --tokenizer and its own.",
            source=folder.path,
        )
    return tokenizer


def device_of(name: str) -> torch.device:
    """Return the device of a name; "auto" takes CUDA where it is present. Raises InputError for a device this machine lacks."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    available = device.type == "cpu" or (device.type == "cuda" and (device.index or 0) < torch.cuda.device_count())
    if not available:
        raise InputError(f"this machine has no device {name!r}", hint="Give auto, cpu, or a card that `thoracle doctor` lists.")
    return device


@contextmanager
def exact_inference() -> Iterator[None]:
    """Compute without gradient and without TF32, to which cuDNN rounds convolutions unless told not to: a rounded token is another code."""
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield
