"""Collect attributes of abnormalities from sentences of reports and from masks: side, lobes, size, number, severity."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from thoracle.types import ABNORMALITIES

LOBES: Final = ("right upper lobe", "right middle lobe", "right lower lobe", "left upper lobe", "left lower lobe")
SIDES: Final = ("right", "left", "both")
SEVERITIES: Final = ("mild", "moderate", "severe")
COUNTS: Final = ("one", "two", "three", "four", "five", "several")
#: Mask voxels that are too few to be a part of their own.
_FEWEST_VOXELS: Final = 2
_SIZE: Final = re.compile(r"(\d+(?:[.,]\d+)?)\s*(?:(?:[x×*]|by)\s*\d+(?:[.,]\d+)?\s*)*-?(mm|cm)\b", re.IGNORECASE)
_LOBES_OF_BOTH: Final = re.compile(r"\b(upper|lower) lobes of both lungs|\bboth (upper|lower) lobes", re.IGNORECASE)
_BOTH: Final = re.compile(r"\bboth (?:lungs|sides|hemithora\w+)|\bbilateral", re.IGNORECASE)
#: "The largest one" and "one of them" count nothing.
_COUNT: Final = re.compile(
    r"\b(a single|(?<!est )(?<!er )(?<!the )one(?! of)|two|three|four|five|several|multiple|a few|numerous|many)\b", re.IGNORECASE
)
#: Words of one scale; a sentence that has several of them, as in "mild to moderate", states no severity of the three.
_SEVERITY: Final = re.compile(r"\b(minimal|mild|slight|moderate|marked|severe)\b", re.IGNORECASE)
_DENIED: Final = re.compile(r"\b(?:no|not|without|free of)\b", re.IGNORECASE)
_SENTENCE: Final = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9])")


@dataclass(frozen=True, kw_only=True)
class FindingAttributes:
    """Hold attributes of one abnormality in one scan; unknown ones are None or empty."""

    side: str | None = None
    lobes: tuple[str, ...] = ()
    size_mm: float | None = None
    count: str | None = None
    severity: str | None = None


#: The sentences of a report that state each abnormality, by its name.
Evidence = Callable[[str], dict[str, list[str]]]

#: A word of each abnormality by which sentences of plainly written reports are told apart.
_HEADS: Final = dict(
    zip(
        ABNORMALITIES,
        (
            r"catheter|pacemaker|medical material|sternotomy|prosthe|device|port\b|tube|clip",
            r"aort\w* .*calcif|arterial wall calcif|calcif.*aort|atherom",
            r"cardiomegaly|heart .*(?:enlarged|increased)|enlarged heart",
            r"pericardial (?:effusion|fluid)",
            r"coronary",
            r"hiatal hernia",
            r"lymphadenopathy|lymph nodes?",
            r"emphysem",
            r"atelecta",
            r"nodul",
            r"opacit|ground.glass",
            r"fibrotic|sequela|band",
            r"pleural effusion|pleural .*fluid|fluid .*pleural",
            r"mosaic",
            r"peribronchial",
            r"consolidat",
            r"bronchiecta",
            r"interlobular|septal thick",
        ),
        strict=True,
    )
)
_FIND: Final = {name: re.compile(head, re.IGNORECASE) for name, head in _HEADS.items()}


def keyword_evidence(report: str) -> dict[str, list[str]]:
    """Find each abnormality by one keyword in sentences that deny nothing; enough where labels already say what is present."""
    sentences = [sentence for sentence in _SENTENCE.split(report) if not _DENIED.search(sentence)]
    return {name: [sentence for sentence in sentences if find.search(sentence)] for name, find in _FIND.items()}


def facts_in(sentences: Iterable[str]) -> FindingAttributes:
    """Collect attributes from sentences on one abnormality; the first sentence that states an attribute decides."""
    attributes = FindingAttributes()
    for sentence in sentences:
        lower = sentence.lower()
        lobes = _lobes(lower)
        size, count = _SIZE.search(lower), _COUNT.search(lower)
        attributes = replace(
            attributes,
            side=attributes.side or _side(lower, lobes),
            lobes=attributes.lobes or lobes,
            size_mm=attributes.size_mm if attributes.size_mm is not None or size is None else _millimetres(size),
            count=attributes.count or (None if count is None else _count(count[1])),
            severity=attributes.severity or _severity(lower),
        )
    return attributes


def facts_of_mask(mask_XYZ: NDArray[np.bool_], *, spacing: Sequence[float], midline: float) -> FindingAttributes:
    """Measure side and number of an abnormality's parts, as its mask shows them; LPS order.

    Args:
        mask_XYZ: where it is.
        spacing: mm.
        midline: index of the patient's midline along the first axis.
    """
    labels, number = ndimage.label(mask_XYZ, structure=np.ones((3, 3, 3)))
    if not number:
        return FindingAttributes()
    boxes, sizes = ndimage.find_objects(labels), np.bincount(labels.ravel())[1:]
    x = np.flatnonzero(mask_XYZ.any(axis=(1, 2)))
    left, right = bool((x > midline).any()), bool((x <= midline).any())
    largest = boxes[int(sizes.argmax())]
    extent = max((box.stop - box.start) * step for box, step in zip(largest, spacing, strict=True))
    parts = int((sizes >= min(_FEWEST_VOXELS, sizes.max())).sum())
    return FindingAttributes(
        side="both" if left and right else "left" if left else "right", size_mm=float(extent), count=COUNTS[min(parts, 6) - 1]
    )


def size_words(millimetres: float) -> str:
    """Write a size, for example 12 mm."""
    return f"{millimetres:.0f} mm"


def _lobes(lower: str) -> tuple[str, ...]:
    named = [lobe for lobe in LOBES if lobe in lower]
    both = _LOBES_OF_BOTH.search(lower)
    if both:
        named += [lobe for lobe in LOBES if lobe.split()[1] == (both[1] or both[2])]
    return tuple(lobe for lobe in LOBES if lobe in named)


def _side(lower: str, lobes: tuple[str, ...]) -> str | None:
    if _BOTH.search(lower):
        return "both"
    sides = {lobe.split()[0] for lobe in lobes} or {side for side in ("right", "left") if re.search(rf"\b{side}\b", lower)}
    return None if not sides else "both" if len(sides) == 2 else sides.pop()


def _severity(lower: str) -> str | None:
    words = _SEVERITY.findall(lower)
    return words[0] if len(words) == 1 and words[0] in SEVERITIES else None


def _millimetres(match: re.Match[str]) -> float:
    value = float(match[1].replace(",", "."))
    return value * 10 if match[2].lower() == "cm" else value


def _count(word: str) -> str:
    word = "one" if word == "a single" else word
    return word if word in COUNTS else "several"
