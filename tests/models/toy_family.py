"""A throw-away family, for tests only: images alone, tiles that the model joins, two published files, labels of its own, no logit scale."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from thoracle.config_reader import config_from_mapping
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.models.common.shapes import Shapes
from thoracle.models.common.size_inference import settle, size_of
from thoracle.models.encoder import Capability, Outputs, VolumeEmbedding
from thoracle.models.model_spec import ConfigGuess, ModelSpec

LABELS = ("Mass", "Fluid", "Calcium")
SIZE = (8, 16, 16)


@dataclass(frozen=True, kw_only=True)
class ToyConfig:
    """Sides of a tile in voxels, width of tokens, number of labels."""

    tile: int = 4
    width: int = 6
    labels: int = 3


class Toy(nn.Module):
    """A linear map of each tile (backbone), and a linear map of their mean (combiner)."""

    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = nn.ModuleDict({"embed": nn.Linear(config.tile**3, config.width)})
        self.combiner = nn.ModuleDict({"label": nn.Linear(config.width, config.labels)})

    @property
    def outputs(self) -> Outputs:
        return Outputs(token_dim=self.config.width, latent_dim=self.config.width)

    @property
    def logit_scale(self) -> None:
        return None

    def token_grid(self, size: tuple[int, int, int]) -> tuple[int, int, int]:
        z, h, w = (side // self.config.tile for side in size)
        return z, h, w

    def encode_volume(self, volume_B1ZHW: Tensor) -> VolumeEmbedding:
        tiles = volume_B1ZHW[:, 0]
        for axis in (1, 2, 3):
            tiles = tiles.unfold(axis, self.config.tile, self.config.tile)
        tokens_BTHWD = self.backbone["embed"](tiles.flatten(4))
        pooled_BD = tokens_BTHWD.mean(dim=(1, 2, 3))
        return VolumeEmbedding(tokens=tokens_BTHWD, latent_BL=F.normalize(pooled_BD, dim=-1), logits_BK=self.combiner["label"](pooled_BD))

    def project_tokens(self, tokens_BTHWD: Tensor) -> Tensor:
        return F.normalize(tokens_BTHWD.mean(dim=(1, 2, 3)), dim=-1)


def _read_config(values: Mapping[str, Any]) -> ToyConfig:
    return config_from_mapping(ToyConfig, values, source="toy")


def _infer_config(shapes: Shapes, settings: Mapping[str, Any]) -> ConfigGuess:
    notes: list[str] = []
    sizes = {"width": size_of(shapes, "backbone.embed.weight", 0), "labels": size_of(shapes, "combiner.label.weight", 0)}
    sizes["tile"] = round(size_of(shapes, "backbone.embed.weight", 1) ** (1 / 3))
    values = settle("toy", sizes, {}, settings, notes)
    return ConfigGuess(config=_read_config(values), preprocess=PreprocessConfig(size=SIZE), assumptions=tuple(notes))


TOY = ModelSpec(
    kind="toy",
    name="Toy",
    title="a toy",
    licence="none",
    read_config=_read_config,
    build=Toy,
    modules=(Toy,),
    capabilities=lambda _: frozenset({Capability.VOLUMES, Capability.LATENTS, Capability.TOKEN_GRID, Capability.LABELS}),
    labels=lambda config: LABELS[: config.labels],
    key_pattern=re.compile(r"^combiner\."),
    files=("backbone.pt", "combiner.pt"),
    infer_config=_infer_config,
)
