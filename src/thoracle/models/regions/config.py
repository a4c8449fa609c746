"""Configure a model that reads findings place by place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from thoracle.config_reader import NonNegativeFloat, PositiveFloat, PositiveInt, check_fields
from thoracle.models.regions.frame import Grid


@dataclass(frozen=True, kw_only=True)
class ReaderConfig:
    """Configure what is read from one grid.

    Attributes:
        grid: cells over the input along (z, x, y).
        dim: numbers of a cell.
        components: principal components of these that are used.
        frame: places over the chest's box and its margin.
        sigma: of the smoothing of evidence, in places, or in cells where these are mapped.
    """

    grid: tuple[PositiveInt, PositiveInt, PositiveInt]
    dim: PositiveInt
    components: PositiveInt
    frame: tuple[PositiveInt, PositiveInt, PositiveInt]
    sigma: PositiveFloat

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def places(self) -> int:
        """Return the number of the frame's places."""
        return self.frame[0] * self.frame[1] * self.frame[2]


@dataclass(frozen=True, kw_only=True)
class RegionsConfig:
    """Configure the encoder and the readers on it.

    Attributes:
        labels: findings, in the order of logits and maps.
        margin: of the frame around the lungs' box, on each side, of the box's extent.
        tokens: reader of the grid of tokens, whose strongest places decide.
        cells: reader of the encoder's finer grid; None where it has none, and maps are the tokens'.
        before_attention: whether tokens are patches that were embedded each alone; where an encoder does not give them, they are what it
            pools, and have met their neighbours.
        average_prompts: whether a probability is the mean of the regions' and of that of the encoder's own prompts.
        encoder_kind: of the encoder.
        encoder: its configuration, of that kind.
    """

    labels: tuple[str, ...]
    margin: NonNegativeFloat
    tokens: ReaderConfig
    cells: ReaderConfig | None
    before_attention: bool
    average_prompts: bool = False
    encoder_kind: str
    encoder: Any = None


def grid_of(cells_BTHWD: Any) -> Grid:
    """Return (T, h, w) of an array of cells."""
    _, T, h, w, _ = cells_BTHWD.shape
    return T, h, w
