"""Read findings place by place: an encoder's patches in the frame of the chest, and a reader on each of its grids.

Shapes: B scans, K findings, (T, h, w) cells of a grid over the input, N places of the frame, P numbers of a place, L latent width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

import torch
from torch import Tensor, nn

from thoracle.ct.chest.input_box import InputBox
from thoracle.models.common.zero_shot import zero_shot_probabilities
from thoracle.models.encoder import Outputs, PatchEncoder, RegionReading, VolumeEmbedding, VolumeEncoder, VolumeTextEncoder
from thoracle.models.regions.config import ReaderConfig, RegionsConfig
from thoracle.models.regions.evidence import PlaceEvidence
from thoracle.models.regions.frame import FrameResampling, frame_resampling

#: Places of the tokens' frame whose mean decides.
_STRONGEST: Final = 8
#: From 0 and 1, of a mean probability, so that its logit is finite.
_FROM_CERTAIN: Final = 1e-7


@dataclass(frozen=True, kw_only=True, eq=False)
class RegionFeatures:
    """Hold what an encoder makes of volumes.

    Attributes:
        tokens: (B, T, h, w, D).
        cells: numbers of the finer grid, in the same form; None where there is none.
        latent_BL: of unit norm; None where it was not asked for.
    """

    tokens: Tensor
    cells: Tensor | None
    latent_BL: Tensor | None

    @property
    def grids(self) -> list[Tensor]:
        """Return what readers are fitted to, tokens first."""
        return [self.tokens] if self.cells is None else [self.tokens, self.cells]


class RegionModel(nn.Module):
    """Combine an encoder and the readers on it.

    Attributes:
        scale_K, shift_K: of the logit, from the mean of the strongest places.
        prompt_latents_2KL: of the encoder's prompts, present and absent by turns, where their probabilities are averaged with the regions'.
    """

    scale_K: Tensor
    shift_K: Tensor
    prompt_latents_2KL: Tensor

    def __init__(self, config: RegionsConfig, encoder: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        findings = len(config.labels)
        self.tokens = PlaceEvidence(config.tokens, findings=findings)
        self.cells = None if config.cells is None else PlaceEvidence(config.cells, findings=findings)
        self.register_buffer("scale_K", torch.ones(findings))
        self.register_buffer("shift_K", torch.zeros(findings))
        if config.average_prompts:
            width = cast(VolumeEncoder, encoder).outputs.latent_dim
            assert width is not None, "an encoder that is prompted has latents"
            self.register_buffer("prompt_latents_2KL", torch.zeros(2 * findings, width))

    @property
    def readers(self) -> list[PlaceEvidence]:
        """Return the reader of each of `RegionFeatures.grids`."""
        return [self.tokens] if self.cells is None else [self.tokens, self.cells]

    @property
    def outputs(self) -> Outputs:
        """Return the width of what is read; there is no latent."""
        return Outputs(token_dim=self.config.tokens.dim, latent_dim=None)

    def token_grid(self, _: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return the tokens along each axis of the one size that it takes."""
        return self.config.tokens.grid

    def encode_volume(self, volume_B1ZHW: Tensor) -> VolumeEmbedding:
        """Compute the tokens that findings are read from, before they are taken to the frame."""
        return VolumeEmbedding(tokens=self.features(volume_B1ZHW).tokens)

    def read_regions(self, volume_B1ZHW: Tensor, boxes: Sequence[InputBox]) -> RegionReading:
        """Read each finding at each place: `finding_logits` decide, maps are of the finest grid."""
        features, reader = self.features(volume_B1ZHW), self.readers[-1]
        cells_BTHWP = reader.reduce(features.grids[-1])
        maps_BKTHW = reader.map_cells(cells_BTHWP, _resampling(reader.config, boxes, self.config.margin, cells_BTHWP.device))
        return RegionReading(logits_BK=self.finding_logits(features, boxes), maps_BKTHW=maps_BKTHW)

    def finding_logits(self, features: RegionFeatures, boxes: Sequence[InputBox]) -> Tensor:
        """Compute logits (B, K) by the strongest places of the tokens' grid, or those of the mean of their probability and the prompts'."""
        places_BNP = place(self.tokens, features.tokens, boxes, margin=self.config.margin)
        logits_BK = self.strongest(places_BNP) * self.scale_K + self.shift_K
        if features.latent_BL is None:
            return logits_BK
        scale = cast(Tensor, cast(VolumeTextEncoder, self.encoder).logit_scale)
        prompted_BK = zero_shot_probabilities(self.prompt_latents_2KL, features.latent_BL, scale)
        return ((logits_BK.sigmoid() + prompted_BK) / 2).logit(eps=_FROM_CERTAIN)

    def strongest(self, places_BNP: Tensor) -> Tensor:
        """Average the strongest places of each finding's map in the tokens' frame: (B, K)."""
        maps_BKN: Tensor = self.tokens(places_BNP)
        return maps_BKN.topk(min(_STRONGEST, maps_BKN.shape[-1]), dim=-1).values.mean(dim=-1)

    def features(self, volume_B1ZHW: Tensor) -> RegionFeatures:
        """Encode volumes by what the configuration reads."""
        encoder, config = cast(VolumeEncoder, self.encoder), self.config
        return region_features(encoder, volume_B1ZHW, before_attention=config.before_attention, latents=config.average_prompts)


def region_features(encoder: VolumeEncoder, volume_B1ZHW: Tensor, *, before_attention: bool, latents: bool = False) -> RegionFeatures:
    """Encode volumes; their latents take the encoder's whole pass."""
    if not before_attention:
        embedding = encoder.encode_volume(volume_B1ZHW)
        return RegionFeatures(tokens=embedding.tokens, cells=None, latent_BL=embedding.latent_BL if latents else None)
    patches = cast(PatchEncoder, encoder).embed_patches(volume_B1ZHW)
    latent_BL = cast(PatchEncoder, encoder).project_tokens(cast(PatchEncoder, encoder).encode_patches(patches)) if latents else None
    return RegionFeatures(tokens=patches.finest, cells=patches.cells, latent_BL=latent_BL)


def place(reader: PlaceEvidence, cells_BTHWD: Tensor, boxes: Sequence[InputBox], *, margin: float) -> Tensor:
    """Take cells to the frame's places: their components (B, N, P)."""
    reduced_BTHWP = reader.reduce(cells_BTHWD)
    return _resampling(reader.config, boxes, margin, reduced_BTHWP.device).to_frame(reduced_BTHWP).flatten(1, 3)


def _resampling(config: ReaderConfig, boxes: Sequence[InputBox], margin: float, device: torch.device) -> FrameResampling:
    return frame_resampling(boxes, grid=config.grid, frame=config.frame, margin=margin, device=device)
