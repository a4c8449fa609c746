"""Configure any encoder's image side with a text encoder."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from thoracle.config_reader import PositiveInt
from thoracle.models.text.config import TextConfig


@dataclass(frozen=True, kw_only=True)
class ImageTextConfig:
    """Configure an image encoder of any kind, a text encoder, and their joint space.

    Attributes:
        bert: text encoder.
        dim_latent: width of latents.
        encoder_kind: of the image encoder.
        encoder: its configuration, of that kind.
    """

    bert: TextConfig = field(default_factory=TextConfig)
    dim_latent: PositiveInt = 512
    encoder_kind: str
    encoder: Any = None
