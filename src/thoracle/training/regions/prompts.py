"""Encode the prompts of an encoder whose own probabilities are averaged with the regions'."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from thoracle.errors import CapabilityMissing
from thoracle.models.bundle.model_folder import ModelFolder
from thoracle.models.encoder import Capability, EncodedText, VolumeTextEncoder
from thoracle.models.registry import models_with
from thoracle.models.text.tokenizer import Tokenizer


def prompt_tokenizer(start: ModelFolder) -> Tokenizer:
    """Load the tokenizer of a model that is prompted.

    Raises:
        CapabilityMissing: it is not prompted.
        TokenizerMissing: its tokenizer is not there.
    """
    if Capability.ZERO_SHOT not in start.capabilities or not start.prompts:
        hint = f"Leave out --average-prompts, or give a {models_with(Capability.ZERO_SHOT)} model."
        raise CapabilityMissing(
            f"is {start.spec.title}, and has no prompts whose probabilities could be averaged", hint=hint, source=start.path
        )
    return start.tokenizer()


@torch.inference_mode()
def encode_prompts(encoder: VolumeTextEncoder, tokenizer: Tokenizer, prompts: Sequence[str], *, device: torch.device) -> Tensor:
    """Encode prompts as latents (2 K, L), as `detect` does those of the encoder itself."""
    encoded = tokenizer.encode(prompts, max_length=encoder.max_text_tokens)
    text = EncodedText(input_ids_BN=encoded.input_ids_BN.to(device), attention_mask_BN=encoded.attention_mask_BN.to(device))
    return encoder.encode_text(text).float()
