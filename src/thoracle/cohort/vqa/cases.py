"""A prepared cohort's scans as questions are made of them; reads masks where they are, and no scan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import nibabel
import numpy as np
from numpy.typing import NDArray

from thoracle.cohort.manifest import CohortEntry
from thoracle.cohort.reports import Section
from thoracle.cohort.sources import Split
from thoracle.cohort.vqa.attributes import Evidence, FindingAttributes, facts_in, facts_of_mask, keyword_evidence
from thoracle.cohort.vqa.case import Case
from thoracle.errors import InputError
from thoracle.types import ABNORMALITIES

#: Abnormalities of which parts can be counted.
COUNTABLE: Final = ("Lung nodule",)
_MOST_VOXELS: Final = 1 << 29


def cases_of(
    entries: Sequence[CohortEntry],
    *,
    split: Split,
    section: Section = "both",
    evidence: Evidence = keyword_evidence,
    masks: Path | None = None,
) -> list[Case]:
    """List one case per scan of the split, by its first volume, in order of name.

    Args:
        entries: of a cohort's manifest.
        split: "train", "dev", "valid" or "test".
        section: of a report, which is to be written; facts are looked for in both.
        evidence: gives the sentences of a report that state each abnormality.
        masks: a folder of masks as `thoracle phantom` writes them; what they show of side and number goes before what reports say.

    Raises:
        InputError: the folder holds no mask of any scan.
    """
    first: dict[str, CohortEntry] = {}
    for entry in entries:
        if entry.split == split:
            first.setdefault(entry.scan, entry)
    files = {} if masks is None else {path.name: path for path in masks.rglob("*.nii.gz")}
    if masks is not None and not any(entry.volume in files for entry in first.values()):
        raise InputError("holds no mask of a scan in this cohort", hint="Give the masks folder of the phantoms.", source=masks)
    return [_case(entry, section, evidence, files.get(entry.volume)) for entry in first.values()]


def finding_attributes(entry: CohortEntry, *, evidence: Evidence = keyword_evidence) -> NDArray[np.float32]:
    """Return (K, 3): whether labels and report state that each abnormality is present, on the left, on the right; NaN where unknown."""
    case = _case(entry, "both", evidence, None)
    return np.array(
        [_told(label, case.facts.get(name, FindingAttributes()).side) for name, label in zip(ABNORMALITIES, case.labels, strict=True)],
        np.float32,
    )


def _told(label: int | None, side: str | None) -> tuple[float, float, float]:
    if label != 1:
        return (np.nan,) * 3 if label is None else (0.0,) * 3
    return (1.0, *((np.nan,) * 2 if side is None else (float(side != "right"), float(side != "left"))))


def _case(entry: CohortEntry, section: Section, evidence: Evidence, mask: Path | None) -> Case:
    report = entry.report.text("both")
    there = [name for name, label in zip(ABNORMALITIES, entry.labels, strict=True) if label == 1]
    attributes = evidence(report) if there and report else {}
    shared = Counter(sentence for name in there for sentence in attributes.get(name, ()))
    # a sentence on two findings does not say whose side and size it names
    facts = {name: facts_in(sentence for sentence in attributes.get(name, ()) if shared[sentence] == 1) for name in there}
    if mask is not None:
        facts = {name: _corrected(facts[name], shown, name) for name, shown in _seen(mask, there)}
    return Case(
        volume=entry.volume,
        patient=entry.patient,
        visit=entry.visit,
        labels=entry.labels,
        facts=facts,
        report=entry.report.text(section),
    )


def _corrected(reported: FindingAttributes, shown: FindingAttributes, name: str) -> FindingAttributes:
    """A report's words where it has them, but sides and numbers as the mask shows them."""
    paired = reported.side is not None or bool(reported.lobes)
    return FindingAttributes(
        side=shown.side if paired else None,
        lobes=reported.lobes,
        size_mm=reported.size_mm,
        count=shown.count if name in COUNTABLE else reported.count,
        severity=reported.severity,
    )


def _seen(path: Path, names: Iterable[str]) -> Iterable[tuple[str, FindingAttributes]]:
    """Bit i of a phantom's mask is the i-th abnormality; its world begins at the midline."""
    image: Any = nibabel.load(path)
    if len(image.shape) != 3 or np.prod(image.shape) > _MOST_VOXELS:
        raise InputError(f"is a mask of shape {image.shape}", hint="Give masks as `thoracle phantom` writes them.", source=path)
    mask = np.asanyarray(image.dataobj)
    affine = image.affine  # RAS: its first axis is minus patient left
    midline = -affine[0, 3] / affine[0, 0]
    spacing = tuple(float(abs(affine[axis, axis])) for axis in range(3))
    for name in names:
        yield name, facts_of_mask((mask >> ABNORMALITIES.index(name)) & 1 == 1, spacing=spacing, midline=midline)
