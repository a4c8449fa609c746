"""Describe the saliency maps of a scan as a JSON document."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any, Final

from thoracle.inference.explain import Method, Slab
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
    """

    finding: str
    probability: float
    stem: str
    layers: tuple[Slab, ...]


def file_stem(finding: str, method: Method) -> str:
    """Name a finding's files without suffix; signs and letters that a name leaves out are told apart by eight digits of a hash."""
    words = re.sub(r"[^a-z0-9]+", "-", finding.lower()).strip("-") or "finding"
    digits = "" if _PLAIN.fullmatch(finding) else f"-{sha256(finding.encode()).hexdigest()[:8]}"
    return f"{words}{digits}-{method}"


def explanation_json(
    findings: Sequence[ExplainedFinding], *, model: Model, method: Method, grid: Sequence[int], warnings: Sequence[str]
) -> dict[str, Any]:
    """Build the document of a scan's maps.

    Args:
        findings: that were explained.
        model: that was explained.
        method: how.
        grid: tokens along z, y and x.
        warnings: of the scan.

    Returns:
        Plain JSON types.
    """
    explained = [
        {
            "finding": finding.finding,
            "probability": finding.probability,
            "files": finding.stem,
            "slices": [asdict(layer) for layer in finding.layers],
        }
        for finding in findings
    ]
    facts = {"notice": RESEARCH_USE, "method": method, "grid": list(grid), "model": model.settings()}
    return {**facts, "warnings": list(warnings), "findings": explained}
