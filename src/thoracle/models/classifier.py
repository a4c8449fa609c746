"""A CT-CLIP with a head that names labels, in one file as LiPro was published: which head, what it is given, whose weights are whose.

Shapes: B batch, K labels; T, h, w, D as in `ctvit`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

from torch import Tensor

from thoracle.models.ctclip import CTCLIP
from thoracle.models.ctclip_config import CTCLIPConfig
from thoracle.models.heads import LabelAttention, LatentClassifier

Head = LatentClassifier | LabelAttention
#: Before the names of CT-CLIP's weights; all others are the head's.
TRAINED_MODEL: Final = "trained_model."


def head_of(config: CTCLIPConfig, *, n_labels: int) -> Head:
    """With weights of its own making."""
    if config.head == "label-attention":
        return LabelAttention(config, n_labels=n_labels)
    return LatentClassifier(config.dim_latent, n_labels=n_labels)


def logits_of(clip: CTCLIP, head: Head, tokens_BTHWD: Tensor) -> Tensor:
    """(B, K) of what `CTCLIP.read_tokens` gives."""
    given = tokens_BTHWD.float() if isinstance(head, LabelAttention) else clip.latents_of(tokens_BTHWD)
    return cast(Tensor, head(given))


def clip_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of a classifier's weights those of its CT-CLIP, under CT-CLIP's own names."""
    return {name.removeprefix(TRAINED_MODEL): tensor for name, tensor in tensors.items() if name.startswith(TRAINED_MODEL)}


def head_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of a classifier's weights those of its head."""
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(TRAINED_MODEL)}


def joined(clip: Mapping[str, Tensor], head: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the two above take apart."""
    return {**{f"{TRAINED_MODEL}{name}": tensor for name, tensor in clip.items()}, **head}
