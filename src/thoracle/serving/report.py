"""Write a page of one scan to print or to keep: findings, where they were read, and what to know of them."""

from __future__ import annotations

from thoracle.evaluation.html.page import heading, page, paragraph, table
from thoracle.serving.scan_store import OpenScan
from thoracle.serving.work.results import FindingsRead


def report_page(scan: OpenScan, findings: FindingsRead) -> bytes:
    """Write the page of a scan whose findings were read; nobody's name is in it."""
    document, rows = findings.document, sorted(scan.rows() or [], key=lambda row: -row.probability)
    said = {"agree": "agreed", "disagree": "disagreed", None: ""}
    parts = [paragraph(warning) for warning in document["warnings"]]
    parts += [
        heading("Findings"),
        table(["finding", "probability", "verdict", "a person"], [[r.name, r.probability, r.verdict_text, said[r.agreed]] for r in rows]),
    ]
    if scan.maps:
        parts.append(heading("Where they were read"))
        for entry in scan.maps.values():
            where = "nothing speaks for it" if entry.slice is None else f"axial slice {entry.slice.index + 1}, {entry.where}"
            parts.append(paragraph(f"{entry.finding}, by {entry.method}: {where}; {entry.sentence}."))
    if scan.conversation:
        parts.append(heading("Questions"))
        for turn in scan.conversation:
            parts += [paragraph(f"Q: {turn.question}"), paragraph(f"A: {turn.answer}")]
    model, provenance = document["model"], document["provenance"] or {}
    facts = [["model", f"{model['kind']}, weights {model['sha256'][:12]}"], ["Thoracle", document["thoracle"]]]
    facts += [["format", provenance["format"]], ["geometry", provenance["geometry"]]] if provenance else []
    return page(scan.label, [*parts, heading("Provenance"), table(["", ""], facts)])
