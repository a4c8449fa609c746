"""Encode volumes by the package that SPECTRE's authors publish: a backbone reads each crop, a combiner the grid of crops.

Shapes: B batch, (X, Y, Z) voxels, N crops, (x, y, z) voxels of a crop, D width.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final, cast

import torch.nn.functional as F
from torch import Tensor, nn

from thoracle.ct.recipes.published import SPECTRE
from thoracle.errors import ExtraMissing, InputError
from thoracle.models.encoder import Outputs, VolumeEmbedding
from thoracle.models.spectre.config import SpectreConfig

CROP: Final = SPECTRE.size
#: More take more memory, and no less time: 513 tokens each.
_CROPS_AT_ONCE: Final = 16
_HINT: Final = "Install it with `pip install spectre-fm`, beside a torchvision that fits the installed torch."


class Spectre(nn.Module):
    """Hold the package's network; the first token of a scan is its latent, the others are of its crops."""

    def __init__(self, config: SpectreConfig) -> None:
        super().__init__()
        self.config = config
        self.network: nn.Module = _package().SpectreImageFeatureExtractor.from_pretrained(f"spectre-{config.size}", pretrained=False)

    @property
    def outputs(self) -> Outputs:
        """Return the widths of tokens and latents."""
        width = cast(Any, self.network).feature_combiner.cls_token.shape[-1]
        return Outputs(token_dim=width, latent_dim=width)

    def encode_volume(self, volume_B1XYZ: Tensor) -> VolumeEmbedding:
        """Encode volumes (B, 1, X, Y, Z) in the interval 0 to 1; raises InputError for sides that are no whole crops."""
        sides = volume_B1XYZ.shape[2:]
        if any(not side or side % crop for side, crop in zip(sides, CROP, strict=True)):
            detail = f"expected volumes of whole crops of {CROP} voxels, got {tuple(sides)}"
            raise InputError(detail, hint="Give what the model's own preprocessing gives.")
        crops_B1xyz = volume_B1XYZ
        for axis, crop in enumerate(CROP, start=2):
            crops_B1xyz = crops_B1xyz.unfold(axis, crop, crop)
        grid = tuple(crops_B1xyz.shape[2:5])
        crops_BN1xyz = crops_B1xyz.flatten(2, 4).transpose(1, 2)
        tokens_BND: Tensor = self.network(crops_BN1xyz, grid_size=grid, max_crops_per_forward=_CROPS_AT_ONCE)
        return VolumeEmbedding(tokens=tokens_BND, latent_BL=self.project_tokens(tokens_BND))

    def project_tokens(self, tokens_BND: Tensor) -> Tensor:
        """Return the first token as a latent of unit norm (B, D)."""
        return F.normalize(tokens_BND[:, 0], dim=-1)


def _package() -> Any:
    try:
        package = import_module("spectre")
    except (ImportError, RuntimeError) as error:  # a torchvision of another torch raises the second
        detail = f"SPECTRE is run by its authors' package spectre-fm, which does not load here ({str(error)[:120]})"
        raise ExtraMissing(detail, hint=_HINT) from error
    if not hasattr(package, "SpectreImageFeatureExtractor"):
        raise ExtraMissing("SPECTRE is run by its authors' package spectre-fm; `spectre` is another package here", hint=_HINT)
    return package
