"""A scan as questions are made of it, where its findings can be, and how what is asked of it is drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Final

from thoracle.cohort.sources import Labels
from thoracle.cohort.vqa.attributes import FindingAttributes
from thoracle.types import ABNORMALITIES

#: What is described together, by the names of its abnormalities.
REGIONS: Final = {
    "lungs": (
        "Emphysema",
        "Atelectasis",
        "Lung nodule",
        "Lung opacity",
        "Pulmonary fibrotic sequela",
        "Mosaic attenuation pattern",
        "Consolidation",
        "Interlobular septal thickening",
    ),
    "airways": ("Peribronchial thickening", "Bronchiectasis"),
    "heart and pericardium": ("Cardiomegaly", "Pericardial effusion"),
    "vessels": ("Arterial wall calcification", "Coronary artery wall calcification"),
    "mediastinum": ("Hiatal hernia", "Lymphadenopathy"),
}
#: What lies in a lobe, or in several.
LOBAR: Final = (
    "Atelectasis",
    "Lung nodule",
    "Lung opacity",
    "Pulmonary fibrotic sequela",
    "Consolidation",
    "Bronchiectasis",
    "Interlobular septal thickening",
)
#: What lies on a side, or on both.
LATERAL: Final = (*LOBAR, "Emphysema", "Pleural effusion")
#: What is not graded by how severe it is.
UNGRADED: Final = ("Medical material", "Lung nodule", "Lymphadenopathy")


@dataclass(frozen=True, kw_only=True)
class Case:
    """Hold a scan as questions are generated from it.

    Attributes:
        volume: the name of its volume.
        patient: whose.
        visit: numbers the patient's scans in the order of time; None where it is not known.
        labels: of `ABNORMALITIES`; None where nobody says.
        facts: by abnormality, of those that are there.
        report: what is to be written; "" where there is none.
    """

    volume: str
    patient: str
    labels: Labels
    facts: Mapping[str, FindingAttributes]
    report: str
    visit: int | None = None

    @cached_property
    def presence(self) -> dict[str, bool]:
        """Return whether each abnormality is there, of those of which somebody says so."""
        return {name: label == 1 for name, label in zip(ABNORMALITIES, self.labels, strict=True) if label is not None}

    def attributes(self, name: str) -> FindingAttributes:
        """Return what is said of an abnormality that is there."""
        return self.facts.get(name, FindingAttributes())

    def comparisons(self, *key: object) -> Iterator[tuple[str, str]]:
        """Yield pairs of abnormalities, each of which is in one of them; most are of something absent."""
        names = sorted(self.presence, key=lambda name: number_of("comparison", *key, name, self.volume))
        yield from zip(names[::2], names[1::2], strict=False)


def number_of(*key: object) -> int:
    """Return a number that is the same for the same key, and as good as drawn."""
    return int.from_bytes(sha256("\0".join(map(str, key)).encode()).digest()[:8])


def pick(templates: Sequence[str], *key: object) -> str:
    """Return the template that the key's number draws."""
    return templates[number_of(*key) % len(templates)]
