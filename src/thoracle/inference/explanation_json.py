"""Describe the saliency maps of a scan as a JSON document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from thoracle.inference.explain import Method, Slab
from thoracle.inference.model import Model
from thoracle.types import RESEARCH_USE


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
