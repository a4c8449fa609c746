"""Configure a model of the Merlin family; the defaults are the published sizes."""

from __future__ import annotations

from dataclasses import dataclass

from thoracle.config_reader import NonNegativeInt, PositiveInt, check_fields
from thoracle.errors import InputError
from thoracle.models.text.config import TextConfig

#: A bottleneck gives this many times its width.
EXPANSION = 4


@dataclass(frozen=True, kw_only=True)
class MerlinConfig:
    """Configure an inflated 3D ResNet (I3ResNet-152) and its heads.

    Attributes:
        width: channels of the stem, and of the first stage inside its bottlenecks; each stage doubles it.
        layers: bottlenecks of each of the four stages.
        contrastive_dim: width of the contrastive head; None for a body without one, whose latents are its pooled features.
        num_labels: outputs of the classifier; 0 for a body without one.
        labels: their names, in order; empty where nobody gave them, and they are numbered.
        bert: sizes of the text encoder; None for a model of volumes alone.
    """

    width: PositiveInt = 64
    layers: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (3, 8, 36, 3)
    contrastive_dim: PositiveInt | None = 512
    num_labels: NonNegativeInt = 0
    labels: tuple[str, ...] = ()
    bert: TextConfig | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if self.labels and len({*self.labels}) != self.num_labels:
            detail = f"{len({*self.labels})} different labels are named, the classifier has {self.num_labels} outputs"
            raise InputError(detail, hint="Name each output, in order, or none.", source="config")
        if self.bert is not None and self.contrastive_dim is None:
            raise InputError(
                "texts have a space with volumes only by a contrastive head", hint="Leave the text encoder out.", source="config"
            )

    @property
    def label_names(self) -> tuple[str, ...]:
        """Return the names of its labels: "Phenotype 1" is the first output, and the first row of the published table of phenotypes."""
        return self.labels or tuple(f"Phenotype {number}" for number in range(1, self.num_labels + 1))

    @property
    def dim(self) -> int:
        """Return the channels of the last stage."""
        return EXPANSION * self.width << len(self.layers) - 1
