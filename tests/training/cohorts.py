"""A cohort of noise that no archive had to be prepared for."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from thoracle.cohort.manifest import Cohort, CohortEntry, claim, open_cohort, write_manifest
from thoracle.cohort.reports import Report
from thoracle.cohort.samples.volume_cache import pack
from thoracle.config_reader import config_to_mapping
from thoracle.ct.preprocess import Preprocessing


def write_cohort(folder: Path, preprocess: Preprocessing, *, volumes: int = 6) -> Cohort:
    """Write v0, v1, …, the last two of the split dev. Volume k has abnormality a if k <= a % 4; of v0 and 17 nobody says.

    Of a preprocessing whose size varies, every second volume has a tile more.
    """
    claim(folder, {"preprocess": config_to_mapping(preprocess)})
    (folder / "cache").mkdir()
    entries = []
    for k in range(volumes):
        first, *rest = preprocess.size
        size = (first * (1 + k % 2), *rest) if preprocess.varies else preprocess.size
        noise = np.random.default_rng(k).normal(-0.5, 0.1, size).astype(np.float32)
        (folder / "cache" / f"{k}.vol").write_bytes(pack(noise, scale=preprocess.intensity_scale, zero=preprocess.zero_hu))
        labels = [int(k <= number % 4) for number in range(18)]
        entries.append(
            CohortEntry(
                volume=f"v{k}",
                scan=f"s{k}",
                patient=f"p{k}",
                split="dev" if k >= volumes - 2 else "train",
                source_sha256="0" * 64,
                cache=f"cache/{k}.vol",
                cache_sha256=f"{k}" * 64,
                report=Report(findings="Lung nodule is present, 8 mm."),
                labels=(*labels[:17], None) if k == 0 else tuple(labels),
            )
        )
    write_manifest(folder, entries)
    return open_cohort(folder)
