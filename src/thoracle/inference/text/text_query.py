"""Free text as a latent to look for volumes by.

A text's own latent is mostly what all texts share, and volumes near to it are near to any text. Detection takes the difference of two
prompts for that reason, and so does this: docs/decisions/0034-text-queries.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from thoracle.inference.model import Model
from thoracle.models.common.prompts import format_prompts

_ALIKE: Final = 1e-4  # between latents of unit norm


def text_query_latents(model: Model, texts: Sequence[str]) -> Tensor:
    """Return unit directions (len(texts), L) from the prompt that denies the text towards the one that states it.

    Texts of a model that is not prompted, and those so long that it reads of both prompts the same, are looked for by their own latents.

    Raises:
        CapabilityMissing: the model reads no text.
        TokenizerMissing: its tokenizer is not there.
    """
    templates = model.folder.prompts
    if len(templates) != 2:
        return model.encode_text(texts)
    prompts = format_prompts([text.strip().rstrip(".") for text in texts], templates)
    latents = model.encode_text(prompts)
    present, absent = latents[::2], latents[1::2]
    away = present - absent
    return functional.normalize(torch.where(away.norm(dim=-1, keepdim=True) > _ALIKE, away, present), dim=-1)
