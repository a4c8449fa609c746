"""One .nii.gz of 512 x 512 x 300 to a model's input: Thoracle, a straight float64 rendering of the published steps, and gunzip alone.

    python bench/preprocess.py [--repeat 3]
    THORACLE_TORCHIO_PYTHON=/some/environment/bin/python python bench/preprocess.py

Then the recipes of other encoders on the same scan, its voxels in memory: Merlin's and Astra's beside MONAI, COLIPRI's beside torchio,
which needs an environment of its own, whose Python the variable names.

The file is made here: a body with lungs, a spine and a scanner's noise, which packs about as well as real CT. Each variant runs in its
own process, so that peak memory (the resident high-water mark, libraries included) is its own; the fastest of the repeats is printed.
This process stays small, because Linux starts a child's high-water mark at its parent's.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SHAPE = (512, 512, 300)
SPACING = (0.7, 0.7, 1.0)
TARGET = (1.5, 0.75, 0.75)
SIZE = (240, 480, 480)

Stages = list[tuple[str, float, float]]


def main() -> None:
    parser = argparse.ArgumentParser(description="Read and preprocess one scan.")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--child", nargs=2, metavar=("VARIANT", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        variant, file = options.child
        print(json.dumps({"write": write_scan, **VARIANTS, **RECIPES}[variant](Path(file))))
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scan.nii.gz"
        in_child("write", file)
        ratio = 2 * SHAPE[0] * SHAPE[1] * SHAPE[2] / file.stat().st_size
        print(f"{' x '.join(map(str, SHAPE))} int16, {file.stat().st_size / 2**20:.0f} MiB, packed {ratio:.1f} times\n")
        report({name: best_of(name, file, options.repeat) for name in VARIANTS})
        compare_recipes(file, options.repeat)


def write_scan(file: Path) -> Stages:
    import nibabel as nib
    import numpy as np
    from scipy import ndimage

    rng = np.random.default_rng(0)
    x, y = np.meshgrid(np.linspace(-1, 1, SHAPE[0]), np.linspace(-1, 1, SHAPE[1]), indexing="ij")
    body = (x / 0.85) ** 2 + (y / 0.6) ** 2 < 1
    lungs = ((np.abs(x) - 0.4) / 0.28) ** 2 + ((y + 0.05) / 0.42) ** 2 < 1
    spine = (x / 0.1) ** 2 + ((y - 0.4) / 0.12) ** 2 < 1
    array = np.empty(SHAPE, np.int16, order="F")
    for k in range(SHAPE[2]):
        tissue = np.where(body, 40.0, -1000.0)
        tissue[lungs & (30 < k < 270)] = -850
        tissue[spine] = 400
        noise = ndimage.gaussian_filter(rng.normal(size=SHAPE[:2]), 0.7) * np.where(body, 60, 15)
        array[:, :, k] = np.clip(ndimage.gaussian_filter(tissue, 0.8) + noise, -1024, 3071)
    image = nib.Nifti1Image(array, np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0]))
    image.header.set_slope_inter(1, 0)
    nib.save(image, file)
    return []


def thoracle_way(file: Path) -> Stages:
    import thoracle

    read, preprocess = thoracle.read, thoracle.preprocess
    clock = Clock()
    with clock.stage("read"):
        volume = read(file)
    with clock.stage("preprocess"):
        result = preprocess(volume)
    assert result.shape == SIZE
    return clock.stages


def straight(file: Path) -> Stages:
    """The published steps one after the other, each on the whole volume."""
    import nibabel as nib
    import numpy as np
    import torch
    from torch.nn import functional

    clock = Clock()
    with clock.stage("nibabel get_fdata"):
        array = nib.nifti1.load(file).get_fdata()
    with clock.stage("rescale and clip"):
        array = np.clip(1.0 * array + 0.0, -1000, 1000)
    with clock.stage("interpolate"):
        tensor = torch.tensor(array.transpose(2, 0, 1))[None, None]
        counts, spacing = tensor.shape[2:], (SPACING[2], SPACING[0], SPACING[1])
        size = [int(n * (s / t)) for n, s, t in zip(counts, spacing, TARGET, strict=True)]
        resampled = functional.interpolate(tensor, size=size, mode="trilinear", align_corners=False)[0, 0].numpy()
    with clock.stage("divide, crop, pad"):
        resampled = (resampled / 1000).astype(np.float32)
        for axis, length in enumerate(SIZE):
            start = max((resampled.shape[axis] - length) // 2, 0)
            resampled = resampled.take(range(start, start + min(length, resampled.shape[axis])), axis)
        before = [(length - n) // 2 for length, n in zip(SIZE, resampled.shape, strict=True)]
        after = [length - n - b for length, n, b in zip(SIZE, resampled.shape, before, strict=True)]
        resampled = np.pad(resampled, list(zip(before, after, strict=True)), constant_values=-1)
    assert resampled.shape == SIZE
    return clock.stages


def gunzip(opened: Callable[[Path], gzip.GzipFile], file: Path) -> Stages:
    into = bytearray(352 + 2 * SHAPE[0] * SHAPE[1] * SHAPE[2])
    clock = Clock()
    with clock.stage("gunzip"), opened(file) as stream:
        position = 0
        while got := stream.readinto(memoryview(into)[position:]):
            position += got
    assert position == len(into)
    return clock.stages


def gunzip_isal(file: Path) -> Stages:
    from isal import igzip

    return gunzip(igzip.open, file)


def gunzip_zlib(file: Path) -> Stages:
    return gunzip(gzip.open, file)


def recipe_way(name: str) -> Callable[[Path], Stages]:
    """Thoracle's computation of a recipe, named in `thoracle.ct.recipes.published`."""

    def run(file: Path) -> Stages:
        from thoracle.ct.preprocess import preprocess
        from thoracle.ct.read import read
        from thoracle.ct.recipes import published

        volume, clock = read(file), Clock()
        with clock.stage("preprocess"):
            result = preprocess(volume, getattr(published, name))
        return [*clock.stages, ("mean", float(result.mean()), 0.0)]

    return run


def monai_way(name: str) -> Callable[[Path], Stages]:
    """Run the published chain of MONAI's transforms, from an array in memory."""

    def run(file: Path) -> Stages:
        import nibabel as nib
        import numpy as np
        from monai import transforms as T
        from monai.data.meta_tensor import MetaTensor

        image = nib.nifti1.load(file)
        scan = MetaTensor(np.asarray(image.dataobj, np.float32)[None], affine=image.affine)
        merlin = [
            T.Spacing(pixdim=(1.5, 1.5, 3), mode="bilinear"),
            T.ScaleIntensityRange(a_min=-1000, a_max=1000, b_min=0.0, b_max=1.0, clip=True),
            T.SpatialPad(spatial_size=(224, 224, 160)),
            T.CenterSpatialCrop(roi_size=(224, 224, 160)),
        ]
        astra = [
            T.CropForeground(select_fn=lambda x: x > -1000),
            T.Resize(spatial_size=(224, 224, 160), mode="area"),
            T.ScaleIntensityRange(a_min=-1000, a_max=200, b_min=0.0, b_max=1.0, clip=True),
        ]
        chain, clock = T.Compose([T.Orientation(axcodes="RAS"), *(merlin if name == "MERLIN" else astra)]), Clock()
        with clock.stage("preprocess"):
            result = chain(scan)
        return [*clock.stages, ("mean", float(result.mean()), 0.0)]

    return run


def torchio_colipri(file: Path) -> Stages:
    """Run COLIPRI's published chain of torchio's transforms, from an array in memory; in an environment of its own."""
    import nibabel as nib
    import numpy as np
    import torch
    import torchio as tio

    image = nib.nifti1.load(file)
    scan = tio.ScalarImage(tensor=torch.from_numpy(np.asarray(image.dataobj)[None]), affine=image.affine)
    size = (192, 192, 192)
    clock = Clock()
    with clock.stage("preprocess"):
        scan = tio.Resample(2)(tio.ToOrientation("RAS")(scan))
        scan = tio.RescaleIntensity((-1, 1), in_min_max=(-1000, 1000))(tio.Clamp(-1000, 1000)(scan))
        scan = tio.CropOrPad(size, padding_mode="minimum")(scan)
        result = scan.data.float()
    return [*clock.stages, ("mean", float(result.mean()), 0.0)]


RECIPES: dict[str, Callable[[Path], Stages]] = {
    "Merlin, thoracle": recipe_way("MERLIN"),
    "Merlin, MONAI": monai_way("MERLIN"),
    "Astra chest, thoracle": recipe_way("ASTRA_CHEST"),
    "Astra chest, MONAI": monai_way("ASTRA_CHEST"),
    "COLIPRI, thoracle": recipe_way("COLIPRI"),
    "COLIPRI, torchio": torchio_colipri,
}

VARIANTS: dict[str, Callable[[Path], Stages]] = {
    "thoracle": thoracle_way,
    "straight float64": straight,
    "gunzip alone (isal)": gunzip_isal,
    "gunzip alone (zlib)": gunzip_zlib,
}


class Clock:
    """Seconds of each stage, and the process's high-water mark in MiB at its end."""

    def __init__(self) -> None:
        self.stages: Stages = [("libraries loaded", 0.0, _peak())]

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.stages.append((name, time.perf_counter() - start, _peak()))


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def compare_recipes(file: Path, repeat: int) -> None:
    """Print each recipe beside the published library, by turns; their means must agree, or another thing was computed."""
    torchio_python = os.environ.get("THORACLE_TORCHIO_PYTHON")
    print(f"\n{'':22}{'seconds':>9}{'peak MiB':>10}")
    names = list(RECIPES)
    for ours, theirs in zip(names[::2], names[1::2], strict=True):
        python = torchio_python if "torchio" in theirs else sys.executable
        if python is None:
            print(f"{theirs}: left out, THORACLE_TORCHIO_PYTHON names no Python that has it")
        rivals = [(ours, sys.executable), *([(theirs, python)] if python else [])]
        runs = [[in_child(name, file, python=interpreter) for name, interpreter in rivals] for _ in range(repeat)]
        best = [min(turns, key=lambda stages: stages[1][1]) for turns in zip(*runs, strict=True)]
        for (name, _), stages in zip(rivals, best, strict=True):
            print(f"{name:22}{stages[1][1]:9.3f}{stages[1][2]:10.0f}")
        if python:
            assert abs(best[0][2][1] - best[1][2][1]) < 1e-3, "another computation"
            print(f"{best[1][1][1] / best[0][1][1]:.1f} times faster")


def best_of(variant: str, file: Path, repeat: int) -> Stages:
    return min((in_child(variant, file) for _ in range(repeat)), key=_seconds)


def in_child(variant: str, file: Path, *, python: str = sys.executable) -> Stages:
    command = [python, __file__, "--child", variant, str(file)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def _seconds(stages: Stages) -> float:
    return sum(stage[1] for stage in stages)


def report(results: dict[str, Stages]) -> None:
    print(f"{'':22}{'stage':22}{'seconds':>9}{'peak MiB':>10}")
    for variant, stages in results.items():
        for name, seconds, peak in stages:
            print(f"{variant:22}{name:22}{seconds:9.3f}{peak:10.0f}")
        print(f"{variant:22}{'in all':22}{_seconds(stages):9.3f}{stages[-1][2]:10.0f}\n")
    ours, theirs = results["thoracle"], results["straight float64"]
    print(f"{_seconds(theirs) / _seconds(ours):.1f} times faster than straight, at {ours[-1][2] / theirs[-1][2]:.2f} of its peak memory")
    for name in ("isal", "zlib"):
        print(f"{_seconds(ours) / _seconds(results[f'gunzip alone ({name})']):.2f} times gunzip alone ({name})")


if __name__ == "__main__":
    main()
