"""Configure COLIPRI; the defaults are the published sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from thoracle.config_reader import PositiveInt, check_fields
from thoracle.errors import InputError
from thoracle.models.text.config import TextConfig

_HINT = "Give sizes that divide."


@dataclass(frozen=True, kw_only=True)
class ColipriConfig:
    """Configure an image encoder, a text encoder, and their joint space, which has the text encoder's width.

    Attributes:
        input_shape: voxels along each axis that the image encoder's positions are numbered over: a larger volume is read window by window.
        patch_size: voxels of a patch along each axis.
        embed_dim: width of the image encoder's tokens.
        depth: blocks of the image encoder.
        heads: attention heads of a block; the width of each is a multiple of 6, two numbers an axis.
        bert: text encoder; its width is that of latents.
        pooler_heads: attention heads of both poolings.
        text_pooling: "valid" pools the tokens of a text; "all" pools padding too, up to the longest text, as version 0.1.2 of the published
            package did.
    """

    input_shape: tuple[PositiveInt, PositiveInt, PositiveInt] = (192, 192, 192)
    patch_size: tuple[PositiveInt, PositiveInt, PositiveInt] = (8, 8, 8)
    embed_dim: PositiveInt = 864
    depth: PositiveInt = 16
    heads: PositiveInt = 12
    bert: TextConfig = field(default_factory=TextConfig)
    pooler_heads: PositiveInt = 12
    text_pooling: Literal["valid", "all"] = "valid"

    def __post_init__(self) -> None:
        check_fields(self)
        if any(side % patch for side, patch in zip(self.input_shape, self.patch_size, strict=True)):
            raise _contradiction(f"patch_size {self.patch_size} does not divide input_shape {self.input_shape}")
        if self.embed_dim % (6 * self.heads):
            raise _contradiction(f"embed_dim {self.embed_dim} is not a multiple of 6 times heads {self.heads}")
        if self.bert.hidden_size % self.pooler_heads:
            raise _contradiction(f"pooler_heads {self.pooler_heads} does not divide bert.hidden_size {self.bert.hidden_size}")

    @property
    def grid(self) -> tuple[int, ...]:
        """Return the patches along each axis of `input_shape`."""
        return tuple(side // patch for side, patch in zip(self.input_shape, self.patch_size, strict=True))

    @property
    def patch_voxels(self) -> int:
        """Return the voxels of a patch."""
        return math.prod(self.patch_size)

    @property
    def mlp_dim(self) -> int:
        """Return the width inside a block's MLP."""
        return int(self.embed_dim * 8 / 3)


def _contradiction(detail: str) -> InputError:
    return InputError(detail, hint=_HINT, source="config")
