"""Draw the box of the lungs over three middle planes of every real scan that can be read, and time how long it takes to find.

python bench/chest_boxes.py ../shared/data boxes.png
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import matplotlib
import numpy as np

import thoracle
from thoracle.ct.chest.quality import Quality, assess
from thoracle.ct.volume import Volume
from thoracle.errors import ThoracleError

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

SCANS = ("volumes/*.nrrd", "volumes/*.mha", "volumes/*.nii.gz", "volumes/formats/air*.hdr.gz", "dicom/cip_ct64", "dicom/lidc_0001")
#: Across and up the picture, and through it: axial, coronal, sagittal.
PLANES = ((0, 1, 2), (0, 2, 1), (1, 2, 0))


def main() -> None:
    """Read, assess and draw."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("data", type=Path)
    arguments.add_argument("picture", type=Path)
    options = arguments.parse_args()
    scans: list[tuple[str, Volume, Quality]] = []
    for path in sorted(path for pattern in SCANS for path in options.data.glob(pattern)):
        name = str(path.relative_to(options.data))
        try:
            volume = thoracle.read(path)
        except ThoracleError as error:
            print(f"{name}: {type(error).__name__}")
            continue
        start = time.perf_counter()
        quality = assess(volume)
        seconds = time.perf_counter() - start
        print(f"{name}: {volume.array.shape}, {seconds:.2f} s, {quality.box.as_text() if quality.box else 'no box'}", flush=True)
        scans.append((name, volume, quality))
    figure, rows = plt.subplots(len(scans), len(PLANES), figsize=(9, 3 * len(scans)), squeeze=False)
    for axes, (name, volume, quality) in zip(rows, scans, strict=True):
        for panel, plane in zip(axes, PLANES, strict=True):
            draw(panel, volume, quality, plane)
        words = (quality.box.encloses, *(f"cut at {face}" for face in quality.box.cut)) if quality.box else ("no box",)
        axes[0].set_title(f"{name}: {', '.join(words)}", fontsize=7, loc="left")
    figure.tight_layout()
    figure.savefig(options.picture, dpi=60)


def draw(panel: Axes, volume: Volume, quality: Quality, plane: tuple[int, int, int]) -> None:
    """Draw the plane through the middle of the box, or of the volume, and the box."""
    across, up, through = plane
    first = volume.affine[:3, 3] - np.asarray(volume.spacing) / 2
    last = first + np.multiply(volume.spacing, volume.array.shape)
    box = quality.box
    middle = (box.low[through] + box.high[through]) / 2 if box else (first[through] + last[through]) / 2
    index = int(np.clip((middle - first[through]) / volume.spacing[through], 0, volume.array.shape[through] - 1))
    image = np.take(volume.array, index, axis=through).T
    panel.imshow(image, cmap="gray", vmin=-1000, vmax=300, origin="lower", extent=(first[across], last[across], first[up], last[up]))
    panel.axis("off")
    if up == 1:
        panel.invert_yaxis()
    if box:
        width, height = (box.high[axis] - box.low[axis] for axis in (across, up))
        panel.add_patch(Rectangle((box.low[across], box.low[up]), width, height, fill=False, color="red"))


if __name__ == "__main__":
    main()
