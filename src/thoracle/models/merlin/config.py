"""Configure a model of the Merlin family; the defaults are the published sizes."""

from __future__ import annotations

from dataclasses import dataclass

from thoracle.config_reader import PositiveInt, check_fields
from thoracle.errors import InputError

#: A bottleneck gives this many times its width.
EXPANSION = 4


@dataclass(frozen=True, kw_only=True)
class MerlinConfig:
    """Configure an inflated 3D ResNet (I3ResNet-152) and its heads.

    Attributes:
        width: channels of the stem, and of the first stage inside its bottlenecks; each stage doubles it.
        layers: bottlenecks of each of the four stages.
        contrastive_dim: width of the contrastive head; None for a body without one, whose latents are its pooled features.
        labels: what the classifier answers, in the order of its outputs; empty for a body without one.
    """

    width: PositiveInt = 64
    layers: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (3, 8, 36, 3)
    contrastive_dim: PositiveInt | None = 512
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self)
        if len({*self.labels}) < len(self.labels):
            raise InputError("labels must differ from each other", hint="Correct the configuration.", source="config")

    @property
    def dim(self) -> int:
        """Return the channels of the last stage."""
        return EXPANSION * self.width << len(self.layers) - 1
