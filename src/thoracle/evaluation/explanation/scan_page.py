"""Write the maps of one scan as a page, with what is known of how well they place findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from thoracle.evaluation.html.page import figure, heading, page, paragraph, table
from thoracle.inference.explain import Method
from thoracle.inference.explanation_json import ExplainedFinding

_SLICES = 5


def write_scan_page(
    findings: Sequence[ExplainedFinding],
    pictures: Mapping[str, bytes],
    *,
    method: Method,
    slices: int,
    measured_on: str | None,
    notes: Sequence[str],
) -> bytes:
    """Draw each finding: probability, place, whether its map is better than where it usually lies, strongest slices.

    Args:
        findings: that were explained.
        pictures: a PNG of each, by name; empty where nothing speaks for it.
        method: of the maps.
        slices: of the scan.
        measured_on: phantoms on which the method was compared with an atlas; None where nobody did.
        notes: warnings of the scan and of the model.
    """
    parts = [*map(paragraph, notes)]
    if measured_on is not None:
        parts.append(paragraph(f"Compared with where findings usually lie on {measured_on}; how that is in patients is not known."))
    for finding in findings:
        parts += [heading(finding.finding), paragraph(f"Probability {finding.probability:.3f}; {method}.")]
        parts += [paragraph(f"{statement[0].upper()}{statement[1:]}.") for statement in finding.statements()]
        if pictures[finding.finding]:
            rows = [[f"{row.first + 1} to {row.last + 1} of {slices}", f"{row.z_mm:.0f}", f"{row.fraction:.0%}"] for row in finding.layers]
            parts.append(figure(pictures[finding.finding], caption="The strongest slices, feet first"))
            parts.append(table(["slices from the feet", "z, mm", "of what speaks for it"], rows[:_SLICES]))
        else:
            parts.append(paragraph("Nothing in the scan speaks for it."))
    return page("Where a model reads findings", parts)
