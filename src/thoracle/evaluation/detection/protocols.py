"""Name ways to score: which split, where thresholds come from, and what the figures can be compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from thoracle.cohort.sources import Split
from thoracle.errors import InputError

Level = Literal["volume", "scan"]
#: A split; or "folds": the other patients of the scored split, in turns.
Tuning = Split | Literal["folds"]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Describe how a cohort is scored.

    Attributes:
        name: on the command line.
        scored: the split whose labels are scored.
        tuning: where thresholds and calibration come from; None for the published choice, on the scored labels.
        mapped: labels are another archive's, and their user says which abnormality is which.
        about: what a reader of the figures must know.
    """

    name: str
    scored: Split
    tuning: Tuning | None
    mapped: bool = False
    about: str


#: Volumes, scans and patients of CT-RATE's validation split.
CT_RATE_VALID: Final = (3039, 1564, 1304)

_CT_RATE_ABOUT: Final = (
    "CT-RATE's split valid: 3,039 volumes are reconstructions of 1,564 scans of 1,304 patients. Reports and labels are of scans, and its"
    " tables repeat them for each volume, so scoring volumes counts a scan once for each of its reconstructions; published figures of"
    " detection are of the 3,039 volumes, those of report retrieval of the 1,564 scans. Labels were made by a classifier from reports."
)
_FROM_OTHERS: Final = (
    " Thresholds and calibration of a patient are chosen on the other patients of the split, in five turns, so that F1, accuracy, precision"
    " and recall are not the published ones' measure; AUROC is. A model that did not train on split dev can take them from there."
)
PROTOCOLS: Final[Mapping[str, Protocol]] = {
    protocol.name: protocol
    for protocol in (
        Protocol(name="ct-rate", scored="valid", tuning="folds", about=_CT_RATE_ABOUT + _FROM_OTHERS),
        Protocol(
            name="ct-clip-legacy",
            scored="valid",
            tuning=None,
            about="As CT-CLIP's evaluation was published, to compare with papers alone: thresholds are chosen on the labels that are then"
            " scored, F1 is of both answers weighted by their frequency, and there are no intervals, for the published bootstrap draws the"
            " same scans each time. " + _CT_RATE_ABOUT,
        ),
        Protocol(
            name="rad-chestct",
            scored="test",
            tuning="valid",
            mapped=True,
            about="RAD-ChestCT has labels of its own; which of them is which abnormality was said by whoever gave the mapping, and decides"
            " the figures. Where several abnormalities stand for a label, the highest probability counts.",
        ),
        Protocol(
            name="phantom",
            scored="valid",
            tuning="dev",
            about="Synthetic scans. Thresholds and calibration come from split dev, which is not trained on. What a model scores"
            " on phantoms says whether a pipeline works, and nothing of patients.",
        ),
        Protocol(name="holdout", scored="test", tuning="valid", about="Split test is scored, thresholds come from split valid."),
    )
}


def protocol(name: str) -> Protocol:
    """Return a protocol by name.

    Raises:
        InputError: no such protocol.
    """
    if name not in PROTOCOLS:
        raise InputError(f"no protocol {name!r}", hint=f"There are {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name]
