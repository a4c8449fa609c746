"""Make findings of probabilities in scans that are encoded once, by a calibration where there is one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from thoracle.inference.calibration import Calibration
from thoracle.inference.findings import Findings
from thoracle.inference.prepare import PreparedVolume
from thoracle.inference.requested_findings import Finding, uncalibrated_note
from thoracle.models.bundle.model_folder import ModelFolder
from thoracle.models.encoder import Capability


def detect_scans(
    scans: Sequence[PreparedVolume],
    findings: tuple[Finding, ...],
    probabilities_of: Callable[[tuple[Finding, ...]], Tensor],
    *,
    folder: ModelFolder,
    precision: str,
    calibration: Calibration | None,
) -> list[Findings]:
    """Detect findings in scans.

    Args:
        scans: that were encoded.
        findings: to detect.
        probabilities_of: probabilities (len(scans), K) of K findings in them; a calibration may ask for others beside those to detect.
        folder: of the model.
        precision: that it computed in.
        calibration: of probabilities; None for none.
    """
    names = [finding.name if finding.is_listed(folder.labels) else "" for finding in findings]  # by which calibrations know them
    rows: list[Sequence[float]] = probabilities_of(findings).tolist()
    if calibration is not None:
        required = calibration.required(names)
        others = probabilities_of(tuple(Finding(name=name) for name in required)).tolist() if required else [[]] * len(rows)
        every = [*names, *required]
        rows = [calibration.probabilities(every, [*row, *other]) for row, other in zip(rows, others, strict=True)]
    detected = []
    for scan, row in zip(scans, rows, strict=True):
        probabilities = tuple(row[: len(findings)])
        frame_warnings = scan.frame_warnings() if Capability.REGIONS in folder.capabilities else ()
        cautions = filter(None, [folder.disclaimer, uncalibrated_note(findings, labels=folder.labels)])
        assert folder.preprocess is not None, "models that take volumes have it"
        detected.append(
            Findings(
                abnormalities=tuple(finding.name for finding in findings),
                prompts=tuple(finding.prompts for finding in findings),
                probabilities=probabilities,
                model_kind=folder.kind,
                model_sha256=folder.weights_sha256,
                trained=folder.trained,
                precision=precision,
                preprocess=folder.preprocess,
                provenance=scan.provenance,
                warnings=(*cautions, *scan.warnings, *frame_warnings),
                verdicts=() if calibration is None else calibration.verdicts(names, probabilities),
                coverage=None if calibration is None else calibration.coverage,
            )
        )
    return detected
