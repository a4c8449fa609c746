"""Hounsfield units of phantoms beside those of a real chest at 4 mm, by tissue: distances, and the plot in docs/.

    python bench/phantom_histograms.py --data ../shared/data --plot docs/phantom-histograms.png

Lung is found in the same way in both: air in an axial slice that does not reach its border. Fat, soft tissue and bone are windows of HU.
The distance is the earth mover's between the two histograms of a tissue, in HU.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import nrrd
import numpy as np
from scipy import ndimage
from scipy.stats import wasserstein_distance

from thoracle.phantom.case import make_patient, plan_cohort
from thoracle.phantom.presets import PRESETS

WINDOWS = {"lung": (-1024, -400), "fat": (-160, -40), "soft tissue": (-20, 100), "bone": (150, 1000)}


def lung_voxels(hu: np.ndarray) -> np.ndarray:
    """Air inside the body: per slice not connected to the border, together larger than 150 ml at 4 mm."""
    air = hu < -400
    inside = np.zeros_like(air)
    for k in range(hu.shape[2]):
        named, _ = ndimage.label(air[:, :, k])
        border = np.unique(np.concatenate([named[0], named[-1], named[:, 0], named[:, -1]]))
        inside[:, :, k] = air[:, :, k] & ~np.isin(named, border)
    named, count = ndimage.label(inside)
    sizes = ndimage.sum_labels(inside, named, np.arange(1, count + 1))
    return np.isin(named, 1 + np.flatnonzero(sizes > 2300))


def body_voxels(hu: np.ndarray) -> np.ndarray:
    """The largest thing denser than air."""
    named, count = ndimage.label(ndimage.binary_opening(hu > -300))
    sizes = ndimage.sum_labels(hu > -300, named, np.arange(1, count + 1))
    return named == 1 + int(np.argmax(sizes))


def tissues(hu: np.ndarray) -> dict[str, np.ndarray]:
    """HU of each tissue's voxels."""
    lung, body = lung_voxels(hu), body_voxels(hu)
    region = {"lung": lung}
    return {name: hu[region.get(name, body) & (hu >= low) & (hu < high)] for name, (low, high) in WINDOWS.items()}


def phantom_tissues(cases: int, seed: int = 0) -> dict[str, list[np.ndarray]]:
    """Of each scan of a tiny cohort without contrast agent, as the real one: enhanced blood is as bright as bone."""
    voxels: dict[str, list[np.ndarray]] = {name: [] for name in WINDOWS}
    for plan in plan_cohort(cases, seed=seed):
        for scan in make_patient(plan, seed=seed, preset=PRESETS["tiny"]):
            if scan.patient.contrast:
                continue
            for name, values in tissues(scan.volumes[0].stored.hu.astype(np.float32)).items():
                voxels[name].append(values)
    return voxels


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--data", type=Path, default=Path("../shared/data"))
    arguments.add_argument("--cases", type=int, default=60)
    arguments.add_argument("--plot", type=Path)
    options = arguments.parse_args()
    real = tissues(nrrd.read(str(options.data / "volumes" / "cip_ct-64.nrrd"))[0].astype(np.float32))
    ours = phantom_tissues(options.cases)
    for name in WINDOWS:
        pooled = np.concatenate(ours[name])
        distances = [wasserstein_distance(real[name], values) for values in ours[name] if len(values)]
        low, high = np.percentile(distances, (10, 90))
        print(
            f"{name:12s} real {real[name].mean():7.1f} ± {real[name].std():5.1f}   phantoms {pooled.mean():7.1f} ± {pooled.std():5.1f}"
            f"   distance {wasserstein_distance(real[name], pooled):5.1f} HU   of single phantoms {low:.0f} to {high:.0f}"
        )
    if options.plot:
        plot(real, ours, options.plot)


def plot(real: dict[str, np.ndarray], ours: dict[str, list[np.ndarray]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(WINDOWS), figsize=(14, 3.2))
    for axis, (name, (low, high)) in zip(axes, WINDOWS.items(), strict=True):
        bins = np.arange(low, high + 1, {"lung": 16, "bone": 25}.get(name, 4))
        middle = (bins[1:] + bins[:-1]) / 2
        densities = np.array([np.histogram(values, bins, density=True)[0] for values in ours[name] if len(values)])
        axis.fill_between(
            middle, *np.percentile(densities, (10, 90), axis=0), color="C0", alpha=0.25, lw=0, label="phantoms, 10th to 90th percentile"
        )
        axis.plot(middle, densities.mean(0), color="C0", label=f"mean of {len(densities)} phantoms")
        axis.plot(middle, np.histogram(real[name], bins, density=True)[0], color="k", lw=1.2, label="real chest (cip_ct-64)")
        axis.set(title=name, xlabel="HU", yticks=[])
    axes[0].legend(fontsize=7, frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    main()
