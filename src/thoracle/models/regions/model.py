"""Read findings place by place: an encoder's patches in the frame of the chest, and a reader on each of its grids.

Shapes: B scans, K findings, (T, h, w) cells of a grid over the input, N places of the frame, P numbers of a place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from thoracle.ct.chest.input_box import InputBox
from thoracle.models.encoder import Outputs, PatchEncoder, RegionReading, VolumeEmbedding, VolumeEncoder
from thoracle.models.regions.config import ReaderConfig, RegionsConfig
from thoracle.models.regions.evidence import RegionReader
from thoracle.models.regions.frame import FrameResampling, frame_resampling


class RegionModel(nn.Module):
    """Combine an encoder and the readers on it."""

    def __init__(self, config: RegionsConfig, encoder: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.tokens = RegionReader(config.tokens, findings=len(config.labels))
        self.cells = None if config.cells is None else RegionReader(config.cells, findings=len(config.labels))

    @property
    def outputs(self) -> Outputs:
        """Return the width of what is read; there is no latent."""
        return Outputs(token_dim=self.config.tokens.dim, latent_dim=None)

    def encode_volume(self, volume_B1ZHW: Tensor) -> VolumeEmbedding:
        """Compute the tokens that findings are read from, before they are taken to the frame."""
        return VolumeEmbedding(tokens=self._features(volume_B1ZHW)[0])

    def read_regions(self, volume_B1ZHW: Tensor, boxes: Sequence[InputBox]) -> RegionReading:
        """Read each finding at each place: the strongest place of the tokens' grid decides, maps are of the finest grid."""
        tokens, cells = self._features(volume_B1ZHW)
        reader, config, finest = self.tokens, self.config.tokens, tokens
        if self.cells is not None and self.config.cells is not None:
            assert cells is not None, "an encoder of this configuration has a finer grid"
            reader, config, finest = self.cells, self.config.cells, cells
        maps_BNK = reader.maps(place(reader, config, finest, boxes, margin=self.config.margin)).transpose(1, 2)
        maps_BFK = maps_BNK.reshape(len(boxes), *config.frame, len(self.config.labels))
        maps_BTHWK = _resampling(config, boxes, self.config.margin, maps_BFK.device).to_grid(maps_BFK)
        return RegionReading(logits_BK=self.token_logits(tokens, boxes), maps_BKTHW=maps_BTHWK.movedim(-1, 1))

    def token_logits(self, tokens_BTHWD: Tensor, boxes: Sequence[InputBox]) -> Tensor:
        """Compute the logits (B, K) of the strongest place of the tokens' grid."""
        placed_BNP = place(self.tokens, self.config.tokens, tokens_BTHWD, boxes, margin=self.config.margin)
        return self.tokens.logits(placed_BNP).amax(dim=-1)

    def _features(self, volume_B1ZHW: Tensor) -> tuple[Tensor, Tensor | None]:
        return region_features(cast(VolumeEncoder, self.encoder), volume_B1ZHW, before_attention=self.config.before_attention)


def region_features(encoder: VolumeEncoder, volume_B1ZHW: Tensor, *, before_attention: bool) -> tuple[Tensor, Tensor | None]:
    """Compute tokens, and the numbers of the finer grid where there is one: (B, T, h, w, D) each."""
    if not before_attention:
        return encoder.encode_volume(volume_B1ZHW).tokens, None
    patches = cast(PatchEncoder, encoder).embed_patches(volume_B1ZHW)
    return patches.patch_embeddings, patches.cells


def place(reader: RegionReader, config: ReaderConfig, cells_BTHWD: Tensor, boxes: Sequence[InputBox], *, margin: float) -> Tensor:
    """Take cells to the frame's places: their components (B, N, P)."""
    reduced_BTHWP = reader.evidence.reduce(cells_BTHWD)
    return _resampling(config, boxes, margin, reduced_BTHWP.device).to_frame(reduced_BTHWP).flatten(1, 3)


def _resampling(config: ReaderConfig, boxes: Sequence[InputBox], margin: float, device: torch.device) -> FrameResampling:
    return frame_resampling(boxes, grid=config.grid, frame=config.frame, margin=margin, device=device)
