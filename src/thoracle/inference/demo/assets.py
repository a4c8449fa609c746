"""A sketch of a chest and a tiny untrained model, so that everything can be tried without data or weights; medically meaningless."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch

from thoracle.ct.preprocess import PreprocessConfig
from thoracle.models.bundle.model_folder import ModelFolder, save_model
from thoracle.models.common.prompts import format_prompts
from thoracle.models.ctclip.config import PRESETS
from thoracle.models.ctclip.model import CTCLIP
from thoracle.models.ctclip.spec import CT_CLIP
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.types import ABNORMALITIES

_SPACING = (3.0, 3.0, 4.0)  # mm
_SHAPE = (128, 112, 88)
#: Ellipsoids in mm from the centre, towards patient left, posterior, superior: (centre, radii, HU); later ones cover earlier ones.
_ORGANS: tuple[tuple[tuple[float, float, float], tuple[float, float, float], float], ...] = (
    ((0, 0, 0), (170, 115, 900), -100),  # fat under the skin
    ((0, 0, 0), (158, 103, 900), 45),  # muscle
    ((-72, 0, 5), (56, 78, 135), -850),  # right lung
    ((72, 0, 5), (56, 78, 135), -850),  # left lung
    ((22, -25, -35), (52, 45, 55), 45),  # heart
    ((-72, 5, -150), (64, 80, 60), 60),  # liver under the diaphragm
    ((0, 70, 0), (20, 20, 900), 250),  # spine
    ((0, 10, 120), (9, 9, 75), -980),  # trachea
)


def write_scan(path: Path) -> Path:
    """Write a NIfTI of ellipsoids with noise: body, lungs, heart, liver, spine, trachea, air. Voxels are always the same bytes."""
    axes = [(np.arange(n, dtype=np.float32) - (n - 1) / 2) * mm for n, mm in zip(_SHAPE, _SPACING, strict=True)]
    left, posterior, superior = np.meshgrid(*axes, indexing="ij", sparse=True)
    hu = np.full(_SHAPE, -1000, dtype=np.float32)
    for (x, y, z), (rx, ry, rz), value in _ORGANS:
        hu[((left - x) / rx) ** 2 + ((posterior - y) / ry) ** 2 + ((superior - z) / rz) ** 2 < 1] = value
    hu += np.random.default_rng(0).normal(0, 12, _SHAPE).astype(np.float32)
    affine = np.diag([-_SPACING[0], -_SPACING[1], _SPACING[2], 1.0])  # NIfTI counts towards right and anterior
    path.parent.mkdir(parents=True, exist_ok=True)
    image: Any = nib.Nifti1Image  # nibabel is typed in part
    nib.save(image(np.clip(hu, -1024, 3071).round().astype(np.int16), affine), path)
    return path


def write_model(folder: Path) -> ModelFolder:
    """Write the preset "tiny" with fixed random weights and a vocabulary of its prompts; at 3 x 3 x 6 mm it sees a whole chest."""
    config = PRESETS["tiny"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tensors = CTCLIP(config).state_dict()
    size = (config.n_frames, config.ctvit.image_size, config.ctvit.image_size)
    return save_model(
        folder,
        kind=CT_CLIP.kind,
        config=config,
        preprocess=PreprocessConfig(spacing=(6.0, 3.0, 3.0), size=size),
        labels=ABNORMALITIES,
        tensors=tensors,
        tokenizer=Tokenizer.from_words(format_prompts()),
        licence="Apache-2.0, as Thoracle; random numbers",
        trained=False,
    )
