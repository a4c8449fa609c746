"""Say findings in sentences that a person understands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from thoracle.client.forms.scans import FindingRow
from thoracle.inference.calibration import Calibration
from thoracle.inference.findings import Findings


def finding_rows(findings: Findings, calibration: Calibration | None) -> list[FindingRow]:
    """Describe each finding with its thresholds and its verdict in a sentence."""
    document: Sequence[dict[str, Any]] = findings.as_dict()["findings"]
    return [_row(entry, calibration) for entry in document]


def _row(entry: dict[str, Any], calibration: Calibration | None) -> FindingRow:
    name, probability, verdict = entry["abnormality"], entry["probability"], entry["verdict"]
    mending = None if calibration is None or verdict is None else calibration.mendings.get(name)
    return FindingRow(
        name=name,
        abnormality=name,
        probability=probability,
        threshold=None if mending is None else mending.rule_in_at,
        absent_at=None if mending is None else mending.rule_out_at,
        verdict=verdict,
        verdict_text=_sentence(probability, verdict, mending, calibration),
        calibrated=entry["calibrated"],
        agreed=None,
        prompts=None if entry["prompts"] is None else list(entry["prompts"]),
    )


def _sentence(probability: float, verdict: str | None, mending: Any, calibration: Calibration | None) -> str:
    if mending is None or calibration is None:
        return f"{probability:.2f}, not calibrated: no threshold says whether it is present"
    coverage = f"at {calibration.coverage:.0%} coverage"
    if verdict == "present":
        return f"present: {probability:.2f} is at or above {mending.rule_in_at:.2f}, {coverage}"
    if verdict == "absent":
        return f"absent: {probability:.2f} is at or below {mending.rule_out_at:.2f}, {coverage}"
    low, high = sorted((mending.rule_out_at, mending.rule_in_at))
    return f"cannot tell: {probability:.2f} is between {low:.2f} and {high:.2f}, {coverage}"
