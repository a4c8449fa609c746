"""Define what is sent about open scans: findings, maps, conversation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from thoracle.client.forms.service import AnswerKind, ErrorBody, Method

ScanState = Literal["queued", "reading", "ready", "refused"]
Opinion = Literal["agree", "disagree"]
Axis = Literal["axial", "coronal", "sagittal"]


@dataclass(frozen=True, kw_only=True)
class ScanOpened:
    """Name a scan that is being opened, and the job that reads it."""

    scan: str
    job: str


@dataclass(frozen=True, kw_only=True)
class ScanRow:
    """Describe an open scan in the table of all.

    Attributes:
        id: of the scan.
        state: where it stands.
        error: why it was refused.
        series_label: "Scan 3", or "Scan 3, series 2 of 4": nobody's name.
        shape: voxels along x, y and z; None until it is read.
        findings: probabilities by name; None until they are read.
        opened_at: seconds since 1970.
    """

    id: str
    state: ScanState
    error: ErrorBody | None
    series_label: str
    shape: list[int] | None
    findings: dict[str, float] | None
    opened_at: float


@dataclass(frozen=True, kw_only=True)
class ScanList:
    """List open scans, the oldest first."""

    scans: list[ScanRow]


@dataclass(frozen=True, kw_only=True)
class Citation:
    """Name a source of an answer.

    Attributes:
        id: as the answer has it, such as F1 or C2.
        kind: "finding" or "case".
        text: what it says.
        finding: its name, of a finding.
        hit: its id, of a case.
    """

    id: str
    kind: Literal["finding", "case"]
    text: str
    finding: str | None
    hit: str | None


@dataclass(frozen=True, kw_only=True)
class ChatTurn:
    """Hold a question and its answer."""

    question: str
    answer: str
    task: AnswerKind
    grounded: bool
    citations: list[Citation]


@dataclass(frozen=True, kw_only=True)
class FindingRow:
    """Describe one finding.

    Attributes:
        name: of the finding; `abnormality` is the same.
        probability: in [0, 1].
        threshold: the least probability that is called present; None where there is no calibration.
        absent_at: the highest that is called absent.
        verdict: "present", "absent", "cannot tell", or None without a calibration.
        verdict_text: the verdict in a sentence, with its threshold.
        calibrated: whether the probability is.
        agreed: what a person said of it.
        prompts: the two that it was asked for by, in place of the model's own.
    """

    name: str
    abnormality: str
    probability: float
    threshold: float | None
    absent_at: float | None
    verdict: Literal["present", "absent", "cannot tell"] | None
    verdict_text: str
    calibrated: bool
    agreed: Opinion | None
    prompts: list[str] | None


@dataclass(frozen=True, kw_only=True)
class ScanFindings:
    """Hold findings as `thoracle detect --json` writes them (`findings.schema.json`), with more of each.

    Attributes:
        calibration: {"coverage": …}, or None.
        findings: in the model's order.
    """

    schema: str
    notice: str
    thoracle: str
    model: dict[str, Any]
    preprocess: dict[str, Any]
    provenance: dict[str, Any] | None
    calibration: dict[str, Any] | None
    findings: list[FindingRow]
    warnings: list[str]


@dataclass(frozen=True, kw_only=True)
class ScanDetail:
    """Describe an open scan.

    Attributes:
        id: of the scan.
        state: where it stands.
        error: why it was refused.
        series_label: nobody's name.
        opened_at: seconds since 1970.
        job: the last job about it; "" for none.
        shape: voxels along x, y and z, in LPS order.
        spacing_mm: along x, y and z.
        affine_ras: (4, 4) from a voxel of the preview of at most 256 an axis to RAS millimetres.
        affine_full_ras: the same of the full resolution, whose voxels `slices` counts.
        hu_range: least and greatest HU.
        warnings: of the reader and of the model.
        coverage: of verdicts, as a share; None without a calibration.
        provenance: where units and geometry came from.
        findings: None until they are read.
        maps: findings whose map is there.
        conversation: so far.
        verdicts: what a person said, by finding.
    """

    id: str
    state: ScanState
    error: ErrorBody | None
    series_label: str
    opened_at: float
    job: str
    shape: list[int] | None
    spacing_mm: list[float] | None
    affine_ras: list[list[float]] | None
    affine_full_ras: list[list[float]] | None
    hu_range: list[float] | None
    warnings: list[str]
    coverage: float | None
    provenance: dict[str, Any] | None
    findings: list[FindingRow] | None
    maps: list[str]
    conversation: list[ChatTurn]
    verdicts: dict[str, Opinion]


@dataclass(frozen=True, kw_only=True)
class StrongestSlice:
    """Locate the strongest slice.

    Attributes:
        axis: "axial".
        index: in voxels of the full resolution, feet first.
        mm: RAS millimetres of the strongest place in it.
        share: of all that speaks for the finding.
    """

    axis: Axis
    index: int
    mm: list[float]
    share: float


@dataclass(frozen=True, kw_only=True)
class FindingMap:
    """Describe where a model reads a finding.

    Attributes:
        finding: its name.
        method: how the map was made.
        slice: the strongest; None where nothing speaks for it.
        where: side or lobe in words, with how often that was right.
        sentence: how often the strongest slice held the finding, or that it is no better than where the finding usually lies, or that
            this was not measured.
        range: least and greatest value.
        signed: whether values below 0 speak against the finding.
    """

    finding: str
    method: Method
    slice: StrongestSlice | None
    where: str
    sentence: str
    range: list[float]
    signed: bool


@dataclass(frozen=True, kw_only=True)
class MapRequest:
    """Ask for a map.

    Attributes:
        finding: one of the model's.
        method: null takes the model's first that knows the finding.
    """

    finding: str
    method: Method | None = None


@dataclass(frozen=True, kw_only=True)
class VerdictRequest:
    """Say whether a person agrees with a finding; null takes it back."""

    verdict: Opinion | None


@dataclass(frozen=True, kw_only=True)
class ChatRequest:
    """Ask a question.

    Attributes:
        scan: an open scan.
        question: in words.
        task: the kind of answer.
        grounded: rest on findings and similar cases, and cite them, without seeing the scan.
    """

    scan: str
    question: str
    task: AnswerKind = "long_answer"
    grounded: bool = False
