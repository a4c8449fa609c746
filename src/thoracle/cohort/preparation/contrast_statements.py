"""Set what reports say of contrast agent beside what voxels show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from thoracle.cohort.journal import VolumeOutcome
from thoracle.cohort.quality_report import QualityIssue
from thoracle.cohort.technique import StatedContrast

_STATED: Final[dict[StatedContrast | None, str]] = {
    "with": "contrast agent",
    "without": "no contrast agent",
    "both": "images with and without contrast agent",
    None: "nothing of it, or the report is not in the archive now",
}
_SHOWN: Final[dict[bool | None, str]] = {True: "are enhanced", False: "show none", None: "give no verdict"}
_OUTSIDE: Final = "outside CT-RATE, whose scans are without"


def contrast_issues(statements: Mapping[str, StatedContrast], outcomes: Mapping[str, VolumeOutcome]) -> list[QualityIssue]:
    """Collect a row for each volume that was read and whose report's technique speaks of contrast agent.

    Args:
        statements: of reports, by volume.
        outcomes: by volume.
    """
    issues = []
    for volume, stated in statements.items():
        outcome = outcomes[volume]
        if outcome.error:
            continue
        consequence = "they disagree" if _disagree(stated, outcome.enhanced) else _OUTSIDE if stated == "with" else ""
        message = f"The report's technique tells of {_STATED[stated]}, and the voxels {_SHOWN[outcome.enhanced]}"
        issues.append(
            QualityIssue(
                volume=volume,
                status="warned" if consequence else "contrast",
                message=f"{message}: {consequence}." if consequence else f"{message}.",
            )
        )
    return issues


def contrast_counts(
    volumes: Iterable[str], statements: Mapping[str, StatedContrast], outcomes: Mapping[str, VolumeOutcome]
) -> list[tuple[str, int, int, int]]:
    """Count volumes by what their report says (rows) and whether their voxels are enhanced, are not, or give no verdict (columns)."""
    counts = Counter((statements.get(volume), outcomes[volume].enhanced if volume in outcomes else None) for volume in volumes)
    return [(name, counts[stated, True], counts[stated, False], counts[stated, None]) for stated, name in _STATED.items()]


def contrast_note(statements: Mapping[str, StatedContrast], outcomes: Mapping[str, VolumeOutcome]) -> tuple[str, ...]:
    """Say how many reports tell of contrast agent, and how many voxels say otherwise; nothing where no report does."""
    read = {volume: stated for volume, stated in statements.items() if not outcomes[volume].error}
    if not read:
        return ()
    counts = Counter(read.values())
    disagreeing = sum(_disagree(stated, outcomes[volume].enhanced) for volume, stated in read.items())
    return (
        f"Contrast agent by the technique of reports: {counts['with']:,} volumes with, {counts['without']:,} without, "
        f"{counts['both']:,} of examinations with both; the voxels of {disagreeing:,} say otherwise.",
    )


def _disagree(stated: StatedContrast, enhanced: bool | None) -> bool:
    return (stated, enhanced) in (("with", False), ("without", True))
