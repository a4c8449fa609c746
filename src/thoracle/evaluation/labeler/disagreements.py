"""Write reports on whose labels two parties differ as a page, with the text, both answers and why.

Judges nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from thoracle.evaluation.html.page import heading, page, paragraph
from thoracle.evaluation.labeler.evaluate import Labelled
from thoracle.inference.labeler.evidence import LabelEvidence, Labels
from thoracle.types import ABNORMALITIES

_STYLE = (
    "<style>mark{background:#ffe9a8}mark.no{background:#f6c9c9}.report{white-space:pre-wrap;background:#f6f8fa;padding:.6em .8em}"
    "th:last-child{text-align:left}td.why{white-space:normal;text-align:left;min-width:30em}</style>"
)
_WORDS = {None: "unknown", 0: "0", 1: "1"}


def disagreements(labelled: Labelled) -> bytes:
    """Build a page of reports on which two backends, or a backend and the reference, differ. It holds the reports' text."""
    parts, count = [_STYLE], 0
    for row in range(len(labelled.rows)):
        answers = {name: labels[row] for name, labels in labelled.by_backend.items()}
        reference = labelled.reference[row] if labelled.reference is not None else None
        split = [number for number in range(len(ABNORMALITIES)) if _differ(number, answers, reference)]
        if split:
            count += 1
            parts += _report(labelled, row, split, answers, reference)
    parties = " and ".join([*labelled.by_backend, *(["the reference"] if labelled.reference is not None else [])])
    parts.insert(1, paragraph(f"{count:,} of {len(labelled.rows):,} reports on which {parties} differ."))
    return page("Disagreements", parts)


def _differ(number: int, answers: dict[str, Labels], reference: tuple[int | None, ...] | None) -> bool:
    values = {labels.values[number] for labels in answers.values()}
    if reference is not None and reference[number] is not None:
        values.add(reference[number])
    return len(values) > 1


def _report(
    labelled: Labelled, row_index: int, split: list[int], answers: dict[str, Labels], reference: tuple[int | None, ...] | None
) -> Iterator[str]:
    row = labelled.rows[row_index]
    yield heading(row.id or f"row {row_index + 1}")
    shown = [mention for labels in answers.values() for number in split for mention in labels.evidence[number]]
    yield f'<div class="report">{_marked(row.text, shown)}</div>'
    columns = ["abnormality", *(["reference"] if reference is not None else []), *answers, "why"]
    lines = ["<tr>" + "".join(f"<th>{escape(column)}</th>" for column in columns) + "</tr>"]
    for number in split:
        values = [_WORDS[labels.values[number]] for labels in answers.values()]
        cells = [ABNORMALITIES[number], *([_WORDS[reference[number]]] if reference is not None else []), *values]
        whose: dict[LabelEvidence, list[str]] = {}
        for name, labels in answers.items():
            for mention in labels.evidence[number]:
                whose.setdefault(mention, []).append(name)
        why = "<br>".join(_why(", ".join(names), mention) for mention, names in whose.items()) or "nothing found"
        reasons = [f"{name}: {labels.unknown}" for name, labels in answers.items() if labels.unknown]
        text = "<br>".join([*map(escape, reasons)]) or why
        lines.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + f'<td class="why">{text}</td></tr>')
    yield f"<table>{''.join(lines)}</table>"


def _why(backends: str, mention: LabelEvidence) -> str:
    cue = f", {mention.cue!r}" if mention.cue else ""
    return escape(f"{backends}: {mention.rule}: {mention.assertion}{cue} in “{mention.sentence}”")


def _marked(text: str, evidence: list[LabelEvidence]) -> str:
    """The report with what was found marked; overlapping finds are one mark."""
    pieces, at = [], 0
    for mention in sorted(evidence, key=lambda mention: (mention.start, -mention.end)):
        if mention.start >= at:
            kind = "" if mention.counts else ' class="no"'
            pieces += [escape(text[at : mention.start]), f"<mark{kind}>{escape(text[mention.start : mention.end])}</mark>"]
            at = mention.end
    return "".join([*pieces, escape(text[at:])])
