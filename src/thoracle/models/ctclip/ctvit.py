"""CTViT, the image encoder: patches of a volume to tokens of a codebook.

Hamamci et al., arXiv:2305.16037 and arXiv:2403.17834. Attribute names are the published state-dict keys; some tensors are carried
because published files hold them, and never used.

Shapes: B batch, Z slices, H W voxels in plane; T time patches (along slices), h w spatial patches, D width, N = T h w, t slowest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from thoracle.errors import InputError
from thoracle.models.common.linear import Linear
from thoracle.models.ctclip.codebook import Codebook
from thoracle.models.ctclip.config import CTViTConfig
from thoracle.models.ctclip.layers import PositionBias, Stack
from thoracle.models.ctclip.patch_embedding import WindowedPatchEmbedding
from thoracle.models.encoder import Outputs, PatchEmbeddings, VolumeEmbedding


@dataclass(frozen=True, kw_only=True, eq=False)
class VolumeTokens:
    """Hold tokens of volumes, before and after quantization.

    Attributes:
        tokens_BTHWD: (B, T, h, w, D) rows of the codebook; in training they carry the gradient of what they replace. Without a codebook,
            the tokens themselves.
        indices_BN: (B, T h w) int64, which rows; None without a codebook.
        pre_quantization_BND: (B, T h w, D).
    """

    tokens_BTHWD: Tensor
    indices_BN: Tensor | None
    pre_quantization_BND: Tensor

    @property
    def codes(self) -> Tensor | None:
        """Return the tokens where they are rows of a codebook; None elsewhere."""
        return None if self.indices_BN is None else self.tokens_BTHWD


class CTViT(nn.Module):
    """Apply patch embedding, spatial attention, temporal attention and codebook."""

    def __init__(self, config: CTViTConfig) -> None:
        super().__init__()
        self.config = config
        dim, area = config.dim, config.patch_size**2
        volume = area * config.temporal_patch_size
        self.spatial_rel_pos_bias = PositionBias(dim, config.heads)
        self.to_patch_emb_first_frame = _patch_embedding(area, dim)  # never used
        self.to_patch_emb: nn.Module = _patch_embedding(volume, dim) if not config.hu_windows else self._cell_embedding()
        self.enc_spatial_transformer = Stack(dim, depth=config.spatial_depth, heads=config.heads, dim_head=config.dim_head)
        self.enc_temporal_transformer = Stack(dim, depth=config.temporal_depth, heads=config.heads, dim_head=config.dim_head)
        self.vq = nn.ModuleDict({"_codebook": Codebook(dim=dim, size=config.codebook_size)} if config.quantize else {})
        self.to_pixels_first_frame = nn.Sequential(nn.Linear(dim, area))  # never used
        self.to_pixels = nn.Sequential(nn.Linear(dim, volume))  # never used

    @property
    def codes(self) -> Codebook | None:
        """Return the codebook; None where tokens are not quantized."""
        return cast(Codebook, self.vq["_codebook"]) if self.config.quantize else None

    @property
    def outputs(self) -> Outputs:
        """Return the width of tokens; there is no latent."""
        return Outputs(token_dim=self.config.dim, latent_dim=None)

    def token_grid(self, size: tuple[int, int, int]) -> tuple[int, int, int]:
        """Count the tokens along each axis of an input of this size."""
        return size[0] // self.config.temporal_patch_size, self.config.grid, self.config.grid

    def encode_volume(self, volume_B1ZHW: Tensor) -> VolumeEmbedding:
        """Encode volumes as codes, or as tokens without a codebook; raises InputError as `forward`."""
        encoded: VolumeTokens = self(volume_B1ZHW)
        return VolumeEmbedding(tokens=encoded.tokens_BTHWD, codes=encoded.codes, codebook_indices=encoded.indices_BN)

    def forward(self, volume_B1ZHW: Tensor) -> VolumeTokens:
        """Encode volumes of the config's size in plane and any whole number of temporal patches, in units of 1000 HU.

        Raises:
            InputError: another size.
        """
        return self.encode(self.embed(volume_B1ZHW))

    def embed_patches(self, volume_B1ZHW: Tensor) -> PatchEmbeddings:
        """Embed each patch for itself, and describe its cells where patches are embedded through cells.

        Raises:
            InputError: as `forward`.
        """
        if not isinstance(self.to_patch_emb, WindowedPatchEmbedding):
            return PatchEmbeddings(patch_embeddings=self.embed(volume_B1ZHW))
        self._check(volume_B1ZHW)
        embedding = self.to_patch_emb
        described = embedding.describe(volume_B1ZHW[:, 0])
        cells = embedding.cell_grid(described)
        blocks = embedding.embed_blocks(cells) if self.config.subpatches > 2 and self.config.subpatches % 2 == 0 else None
        return PatchEmbeddings(patch_embeddings=embedding.embed(described), blocks=blocks, cells=cells)

    def embed(self, volume_B1ZHW: Tensor) -> Tensor:
        """Embed each patch for itself, (B, T, h, w, D), one time step after the other: all patches together are as large as the volume.

        Raises:
            InputError: as `forward`.
        """
        self._check(volume_B1ZHW)
        p, pt, grid = self.config.patch_size, self.config.temporal_patch_size, self.config.grid
        if isinstance(self.to_patch_emb, WindowedPatchEmbedding):
            return cast(Tensor, self.to_patch_emb(volume_B1ZHW[:, 0]))
        norm, project, norm_out = (cast(nn.Sequential, self.to_patch_emb)[i] for i in (1, 2, 3))
        steps_BSHW = torch.split(volume_B1ZHW[:, 0], pt, dim=1)
        patches = (step.view(-1, pt, grid, p, grid, p).permute(0, 2, 4, 1, 3, 5).flatten(3) for step in steps_BSHW)
        return torch.stack([norm_out(project(norm(patch)).to(patch.dtype)) for patch in patches], dim=1)

    def encode(self, x_BTHWD: Tensor) -> VolumeTokens:
        """Pass patch embeddings through attention and codebook."""
        B, T, h, w, _ = shape = x_BTHWD.shape
        bias_HNN = self.spatial_rel_pos_bias((h, w))
        x_SND = self.enc_spatial_transformer(x_BTHWD.flatten(2, 3).flatten(0, 1), shape=(B, T, h, w), bias_HNN=bias_HNN)
        x_SND = x_SND.view(shape).permute(0, 2, 3, 1, 4).contiguous().flatten(0, 2)
        x_SND = self.enc_temporal_transformer(x_SND, shape=(B, T, h, w))
        x_BND = x_SND.view(B, h, w, T, -1).permute(0, 3, 1, 2, 4).reshape(B, T * h * w, -1)
        if self.codes is None:
            return VolumeTokens(tokens_BTHWD=x_BND.view(shape), indices_BN=None, pre_quantization_BND=x_BND)
        coded = self.codes(x_BND)
        return VolumeTokens(tokens_BTHWD=coded.codes_BND.view(shape), indices_BN=coded.indices_BN, pre_quantization_BND=x_BND)

    def _cell_embedding(self) -> WindowedPatchEmbedding:
        c = self.config
        patch = (c.temporal_patch_size, c.patch_size, c.patch_size)
        return WindowedPatchEmbedding(patch=patch, cells=c.subpatches, windows=c.hu_windows, dim_cell=c.dim_cell, dim=c.dim)

    def _check(self, volume: Tensor) -> None:
        size, pt = self.config.image_size, self.config.temporal_patch_size
        if volume.dim() != 5 or volume.shape[1] != 1 or volume.shape[3:] != (size, size) or not volume.shape[2] or volume.shape[2] % pt:
            raise InputError(
                f"a volume of shape {tuple(volume.shape)}, where (batch, 1, a multiple of {pt}, {size}, {size}) was expected",
                hint="Give what preprocessing gives.",
            )


def _patch_embedding(values: int, dim: int) -> nn.Sequential:
    """Keys 1, 2, 3, as published: 0 is the rearrangement into patches."""
    return nn.Sequential(nn.Identity(), nn.LayerNorm(values), Linear(values, dim), nn.LayerNorm(dim))
