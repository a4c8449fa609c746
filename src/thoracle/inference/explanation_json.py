"""Describe the saliency maps of a scan as a JSON document."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any, Final

from thoracle.inference.explain import Method, Slab
from thoracle.inference.localization.measured import MeasuredFinding, lead_statement, place_statement
from thoracle.inference.localization.strongest_place import LOBAR, StrongestPlace
from thoracle.inference.model import Model
from thoracle.types import RESEARCH_USE

#: Names that a file's name says whole.
_PLAIN: Final = re.compile(r"[A-Za-z0-9]+( [A-Za-z0-9]+)*")


@dataclass(frozen=True, kw_only=True)
class ExplainedFinding:
    """Describe where a model reads a finding.

    Attributes:
        finding: its name.
        probability: that the model gives it.
        stem: the name of its files without suffix.
        layers: axial slabs, the strongest first.
        location: where the map is strongest; None where nothing speaks for it, or no lungs were found.
        measured: how the method was found to place it; None where nobody measured that.
    """

    finding: str
    probability: float
    stem: str
    layers: tuple[Slab, ...]
    location: StrongestPlace | None
    measured: MeasuredFinding | None

    def statements(self) -> tuple[str, str]:
        """Say where it is strongest, and whether the map is better than where the finding usually lies."""
        return place_statement(self.finding, self.location, self.measured), lead_statement(self.measured)


def file_stem(finding: str, method: Method) -> str:
    """Name a finding's files without suffix; signs and letters that a name leaves out are told apart by eight digits of a hash."""
    words = re.sub(r"[^a-z0-9]+", "-", finding.lower()).strip("-") or "finding"
    digits = "" if _PLAIN.fullmatch(finding) else f"-{sha256(finding.encode()).hexdigest()[:8]}"
    return f"{words}{digits}-{method}"


def explanation_json(
    findings: Sequence[ExplainedFinding],
    *,
    model: Model,
    method: Method,
    grid: Sequence[int],
    warnings: Sequence[str],
    measured_on: str | None,
) -> dict[str, Any]:
    """Build the document of a scan's maps.

    Args:
        findings: that were explained.
        model: that was explained.
        method: how.
        grid: tokens along z, y and x.
        warnings: of the scan.
        measured_on: phantoms on which the method's maps were compared with an atlas; None where nobody did.

    Returns:
        Plain JSON types.
    """
    facts = {"notice": RESEARCH_USE, "method": method, "grid": list(grid), "model": model.settings(), "measured_on": measured_on}
    return {**facts, "warnings": list(warnings), "findings": [_document(finding) for finding in findings]}


def _document(finding: ExplainedFinding) -> dict[str, Any]:
    location, lead = finding.statements()
    return {
        "finding": finding.finding,
        "probability": finding.probability,
        "files": finding.stem,
        "slices": [asdict(layer) for layer in finding.layers],
        "place": None
        if finding.location is None
        else {"side": finding.location.side, "lobe": finding.location.lobe if finding.finding in LOBAR else None},
        "place_statement": location,
        "lead_statement": lead,
        "measured": None if finding.measured is None else asdict(finding.measured),
    }
