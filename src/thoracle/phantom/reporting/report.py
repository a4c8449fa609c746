"""Radiology reports of phantom scans: findings and impression, each sentence linked to what it speaks of.

What is present is always stated, what is absent is denied or passed over in silence, as in real reports. A typo never touches a short word,
so that no negation is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from thoracle.phantom.anatomy.patient import Patient, Rng
from thoracle.phantom.anatomy.thorax import LOBES
from thoracle.phantom.findings import FindingGenerator
from thoracle.phantom.reporting.phrases import BLOCKS, CLEAR_SUMMARY, ENDING, HEDGES, HISTORIES, LUNG_WINDOW, NORMAL, WORDINGS

_DENIED = 0.5
_HEDGED = 0.12
_MISTYPED = 0.03
_COUNTS = {1: "a single", 2: "two", 3: "three", 4: "four", 5: "five"}


@dataclass(frozen=True, kw_only=True)
class ReportSentence:
    """Hold a sentence of a report.

    Attributes:
        section: the column it stands in.
        text: as written, typo included; found at `start` in its section.
        abnormalities: what it speaks of; empty for what is no abnormality.
        present: whether it states (True) or denies (False) them; None where it speaks of none.
    """

    section: Literal["Findings_EN", "Impressions_EN"]
    text: str
    start: int
    abnormalities: tuple[str, ...]
    present: bool | None


@dataclass(frozen=True, kw_only=True)
class PhantomReport:
    """Hold the four report columns of CT-RATE, and the sentences of the last two."""

    clinical: str
    technique: str
    findings: str
    impression: str
    sentences: tuple[ReportSentence, ...]


_Draft = tuple[str, tuple[str, ...], bool | None]


def write_report(rng: Rng, findings: Sequence[FindingGenerator], patient: Patient, *, step: float) -> PhantomReport:
    """Write a report on exactly these findings; `step`: mm between slices, for the technique."""
    body = _findings(rng, findings)
    summary = _impression(rng, findings)
    text, sentences = _set("Findings_EN", [_mistyped(rng, draft) for draft in body])
    short, more = _set("Impressions_EN", [_mistyped(rng, draft) for draft in summary])
    agent = "after contrast agent was given" if patient.contrast else "without contrast agent"
    return PhantomReport(
        clinical=_any(rng, HISTORIES),
        technique=f"Sections of {step:g} mm were obtained {agent}.",
        findings=text,
        impression=short,
        sentences=(*sentences, *more),
    )


def _findings(rng: Rng, findings: Sequence[FindingGenerator]) -> list[_Draft]:
    present = {finding.abnormality: finding for finding in findings}
    blocks: dict[str, list[_Draft]] = {block: [] for block in BLOCKS}
    for name, wording in WORDINGS.items():
        if name in present:
            sentence = _filled(rng, _any(rng, wording.present), present[name])
            if rng.random() < _HEDGED:
                sentence = sentence.removesuffix(".") + _any(rng, HEDGES)
            blocks[wording.block].append((sentence, (name,), True))
        elif rng.random() < _DENIED * (0.25 if name == "Medical material" else 1):
            blocks[wording.block].append((_any(rng, wording.absent), (name,), False))
    for block, sentence in NORMAL:
        if rng.random() < 0.35:
            blocks[block].insert(0, (sentence, (), None))
    ordered: list[_Draft] = []
    for block in _order(rng):
        shuffled = [blocks[block][i] for i in rng.permutation(len(blocks[block]))]
        heading = [(_any(rng, LUNG_WINDOW), (), None)] if block == "lung" and shuffled else []
        ordered += [*heading, *shuffled]
    ending = [ENDING[i] for i in rng.permutation(len(ENDING))[: int(rng.integers(0, 4))]]
    return ordered + [(sentence, (), None) for sentence in ending]


def _impression(rng: Rng, findings: Sequence[FindingGenerator]) -> list[_Draft]:
    if not findings:
        return [(_any(rng, CLEAR_SUMMARY), (), None)]
    # What matters little is now and then left out of an impression.
    reported = [f for f in findings if rng.random() < 0.9] or [findings[0]]
    order = rng.permutation(len(reported))
    return [(_filled(rng, _any(rng, WORDINGS[f.abnormality].summed), f), (f.abnormality,), True) for f in (reported[i] for i in order)]


def _order(rng: Rng) -> list[str]:
    """The usual order; some begin with the lungs, some with the pleura before them."""
    blocks = list(BLOCKS)
    if rng.random() < 0.2:
        blocks = ["lung", "pleura", *(b for b in blocks if b not in ("lung", "pleura"))]
    elif rng.random() < 0.2:
        blocks[-2:] = ["pleura", "lung"]
    return blocks


def _filled(rng: Rng, template: str, finding: FindingGenerator) -> str:
    many = _COUNTS.get(finding.number, "multiple") if rng.random() < 0.6 or finding.number < 2 else "several"
    words = {
        "sev": finding.severity,
        "Sev": finding.severity.capitalize(),
        "side": finding.side or "",
        "where": _where(finding),
        "size": _size(rng, finding.size_mm),
        "count": many,
        "Count": many.capitalize(),
        "kind": finding.kind or "",
    }
    text = template.format(**words)
    if finding.number == 1:
        text = text.replace("A single lung nodules are", "A single lung nodule is").replace(
            "A single lung nodules,", "A single lung nodule,"
        )
    return " ".join(text.split()).replace(" .", ".").replace(" ,", ",")


def _where(finding: FindingGenerator) -> str:
    lobes = finding.lobes
    if not lobes or len(lobes) > 3:
        return "in both lungs" if finding.side in (None, "bilateral") else f"in the {finding.side} lung"
    if set(lobes) == set(LOBES[:3]):
        return "in the right lung"
    if len(lobes) == 2 and {name.split(maxsplit=1)[1] for name in lobes} in ({"upper lobe"}, {"lower lobe"}):
        return f"in the {lobes[0].split(maxsplit=1)[1]}s of both lungs"
    return "in the " + " and the ".join((", ".join(lobes[:-1]), lobes[-1]) if len(lobes) > 1 else lobes)


def _size(rng: Rng, size: float | None) -> str:
    if size is None:
        return "a few mm"
    shown = round(size, 1) if size < 10 else round(size)
    draw = rng.random()
    if draw < 0.25 and size >= 10:
        return f"{size / 10:.1f} cm"
    if draw < 0.4:
        return f"{shown:g}x{round(size * rng.uniform(0.7, 0.95)):g} mm"
    return f"{shown:g} mm"


def _mistyped(rng: Rng, draft: _Draft) -> _Draft:
    """Now and then two letters of a long word change places, or one is lost."""
    text, names, present = draft
    words = text.split(" ")
    long = [i for i, word in enumerate(words) if len(word) > 7 and word.isalpha()]
    if not long or rng.random() > _MISTYPED:
        return draft
    i = int(rng.choice(long))
    k = int(rng.integers(2, len(words[i]) - 2))
    word = words[i]
    words[i] = word[:k] + (word[k + 1] + word[k] + word[k + 2 :] if rng.random() < 0.6 else word[k + 1 :])
    return " ".join(words), names, present


def _set(section: Literal["Findings_EN", "Impressions_EN"], drafts: list[_Draft]) -> tuple[str, tuple[ReportSentence, ...]]:
    """One text of sentences, and where each begins."""
    sentences, start = [], 0
    for text, names, present in drafts:
        sentences.append(ReportSentence(section=section, text=text, start=start, abnormalities=names, present=present))
        start += len(text) + 1
    return " ".join(text for text, _, _ in drafts), tuple(sentences)


def _any(rng: Rng, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(0, len(choices)))]
