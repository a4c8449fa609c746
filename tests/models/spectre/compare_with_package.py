"""Print how far our SPECTRE is from its authors' package, which stands on the path of this process; argument: an empty folder."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import spectre
import torch

import thoracle
from thoracle.models.bundle.import_published import import_checkpoint

#: Voxels and orientation: a scan with an edge to cut, one that is mirrored and thick, and one that is less than a crop.
SCANS = {"large": ((300, 270, 150), "RAS"), "mirrored": ((140, 129, 70), "LPS"), "small": ((100, 130, 64), "RAS")}


def main(folder: Path) -> None:
    torch.manual_seed(0)
    theirs = spectre.SpectreImageFeatureExtractor.from_pretrained("spectre-small", pretrained=False).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    parts = folder / "published"
    parts.mkdir()
    torch.save(theirs.backbone.state_dict(), parts / "spectre_backbone_vit_large_patch16_128.pt")
    torch.save(theirs.feature_combiner.state_dict(), parts / "spectre_combiner_feature_vit_large.pt")
    report = import_checkpoint(parts, out=folder / "model")
    ours = thoracle.load(folder / "model", device="cpu")
    figures = {"parameters": report.parameters, "published": sum(parameter.numel() for parameter in theirs.parameters())}
    for name, (shape, axes) in SCANS.items():
        scan = folder / f"{name}.nii.gz"
        write_scan(scan, shape, axes)
        with torch.no_grad():
            expected = theirs.extract(spectre.load_ct(scan)[0])
        embedding = ours.encode_volume(thoracle.read(scan, hu="stored"))
        if name == "large":
            volume = thoracle.read(scan, hu="stored")
            other = ours.encode_volume(replace(volume, array=volume.array[::-1]))
            figures["another side"] = error(other.tokens[0], expected)
        assert embedding.tokens[0].shape == expected.shape, (name, embedding.tokens.shape, expected.shape)
        figures[f"{name} tokens"] = error(embedding.tokens[0], expected)
        figures[f"{name} latent"] = error(embedding.latent_BL[0], expected[0] / expected[0].norm())
    print(json.dumps(figures))


def write_scan(path: Path, shape: tuple[int, int, int], axes: str) -> None:
    """A smooth body with noise, in HU, whose right is not its left."""
    rng = np.random.default_rng(0)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, side) for side in shape), indexing="ij")
    voxels = (900 * np.cos(2 * x + 1) * np.cos(3 * y) * np.cos(z + 0.5) - 300 + 50 * rng.standard_normal(shape)).astype(np.int16)
    signs = [1 if letter in "RAS" else -1 for letter in axes]
    nib.save(nib.Nifti1Image(voxels, np.diag([0.8 * signs[0], 0.8 * signs[1], 1.5 * signs[2], 1.0])), path)


def error(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got.double() - expected.double()).norm() / expected.double().norm())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
