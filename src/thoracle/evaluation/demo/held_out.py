"""List the held-out phantoms of a prepared cohort, score their histograms, and find one for each abnormality.

Runs no model. Shapes: N scans, K labels.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from thoracle.cohort.manifest import Cohort, CohortEntry
from thoracle.cohort.samples.volume_cache import read_volume
from thoracle.ct.preprocess import to_hounsfield
from thoracle.evaluation.demo.page import Example
from thoracle.evaluation.detection.histogram_baseline import histogram, histogram_probabilities
from thoracle.evaluation.detection.summary import Scores
from thoracle.types import ABNORMALITIES, FloatArray


def held_out(cohort: Cohort) -> dict[str, CohortEntry]:
    """List the first volume of each scan of split valid, by the scan's name."""
    entries: dict[str, CohortEntry] = {}
    for entry in cohort.entries:
        if entry.split == "valid":
            entries.setdefault(entry.scan, entry)
    return entries


def positive_labels(entry: CohortEntry) -> list[str]:
    """List the abnormalities of an entry."""
    return [name for name, label in zip(ABNORMALITIES, entry.labels, strict=True) if label]


def phantom_file(entry: CohortEntry) -> PurePosixPath:
    """Return the path of a phantom in CT-RATE's layout; its mask has the same path below `masks`."""
    return PurePosixPath(entry.split, entry.patient, entry.scan, entry.volume)


def histogram_scores(cohort: Cohort, like: Scores) -> Scores:
    """Score the held-out scans of `like` by a linear model of HU histograms, fitted to the training volumes.

    Raises:
        CacheDamaged: a cached volume is not what was written.
    """
    train, scans = [entry for entry in cohort.entries if entry.split == "train"], held_out(cohort)
    labels_NK = np.array([entry.labels for entry in train], dtype=np.float64)
    others_NB = _histograms(cohort, [scans[name] for name in like.names])
    return replace(like, probabilities_NK=histogram_probabilities(_histograms(cohort, train), labels_NK, others_NB))


def examples(cohort: Cohort, phantoms: Path, scores: Scores) -> list[Example]:
    """Choose for each abnormality a held-out scan that has it, a different one each time as far as possible.

    Raises:
        OSError: a phantom or its mask is not there.
    """
    scans, taken, selected = held_out(cohort), set[str](), []
    for k, label in enumerate(ABNORMALITIES):
        having = [name for name, entry in scans.items() if entry.labels[k] and name in scores.names]
        name = next((name for name in having if name not in taken), having[0] if having else None)
        if name is None:
            continue
        taken.add(name)
        file = phantom_file(scans[name])
        mask_ZHW = _voxels(phantoms / "masks" / file) >> k & 1
        probability = float(scores.probabilities_NK[scores.names.index(name), scores.labels.index(label)])
        selected.append(Example(label=label, scan=name, probability=probability, hu_ZHW=_voxels(phantoms / file), mask_ZHW=mask_ZHW))
    return selected


def _histograms(cohort: Cohort, entries: list[CohortEntry]) -> FloatArray:
    volumes = (read_volume(cohort.folder / entry.cache) for entry in entries)
    return np.stack([histogram(np.rint(to_hounsfield(volume, cohort.preprocess)).astype(np.int16)) for volume in volumes])


def _voxels(path: Path) -> NDArray[Any]:
    """(z, x, y) of the LPS array, as phantoms are written."""
    image: Any = nibabel.load(path)
    return np.asarray(image.dataobj).astype(np.int32).transpose(2, 0, 1)
