"""Define what the server sends, as its OpenAPI description and the client both have it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

JobState = Literal["queued", "running", "done", "failed", "cancelled"]
ScanState = Literal["queued", "reading", "ready", "refused"]
Opinion = Literal["agree", "disagree"]
Axis = Literal["axial", "coronal", "sagittal"]
Method = Literal["gradient", "occlusion", "similarity", "attention", "regions"]
AnswerKind = Literal["long_answer", "short_answer", "multiple_choice", "report_generation"]


@dataclass(frozen=True, kw_only=True)
class ErrorBody:
    """Say why a request or a job gave nothing.

    Attributes:
        kind: class of the error in `thoracle.errors`.
        message: detail and hint in one line.
        detail: what was expected and what came.
        hint: how to mend it.
    """

    kind: str
    message: str
    detail: str
    hint: str


@dataclass(frozen=True, kw_only=True)
class ErrorAnswer:
    """Answer a request that is not carried out."""

    error: ErrorBody


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """Describe the model that findings come from.

    Attributes:
        name: of its kind, in words.
        kind: as `config.json` has it.
        findings: that it reads.
        methods: by which maps can be made.
        calibrated: whether probabilities and verdicts are.
        trained: False for random weights, whose findings mean nothing.
        caution: what a person must be told of it; "" for nothing.
    """

    name: str
    kind: str
    findings: list[str]
    methods: list[Method]
    calibrated: bool
    trained: bool
    caution: str


@dataclass(frozen=True, kw_only=True)
class IndexFacts:
    """Describe the index that is searched.

    Attributes:
        records: volumes in it.
        read_only: whether nobody may change it here.
        tasks: parts that a query can have: text, keyword, report, scan.
    """

    records: int
    read_only: bool
    tasks: list[str]


@dataclass(frozen=True, kw_only=True)
class ChatFacts:
    """Describe the chat model.

    Attributes:
        name: in words.
        tasks: kinds of answers.
        grounded: "always", "optional" or "never": whether answers rest on findings and cite them.
        caution: what a person must be told of it; "" for nothing.
    """

    name: str
    tasks: list[AnswerKind]
    grounded: Literal["always", "optional", "never"]
    caution: str


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Hold the server's limits: bytes of an upload, open scans, seconds of a job, and seconds until what is not used expires."""

    upload_bytes: int
    scans: int
    seconds: float
    expires_after: float


@dataclass(frozen=True, kw_only=True)
class ServerStatus:
    """Describe the server. `model`, `index` and `chat` are None where there is none, or until they are loaded (`ready`)."""

    version: str
    research_use: str
    ready: bool
    problem: ErrorBody | None
    model: ModelFacts | None
    regions: bool
    index: IndexFacts | None
    chat: ChatFacts | None
    chat_hint: str
    limits: Limits


@dataclass(frozen=True, kw_only=True)
class JobStatus:
    """Describe a job.

    Attributes:
        id: of the job.
        kind: "read", "findings", "map", "search", "chat" or "index".
        scan: its scan; "" for none.
        state: where it stands.
        place: in the queue, from 1; 0 once it runs.
        stage: what it is doing, in words.
        seconds: since it was asked for, or until it ended.
        error: why it failed.
    """

    id: str
    kind: str
    scan: str
    state: JobState
    place: int
    stage: str
    seconds: float
    error: ErrorBody | None


@dataclass(frozen=True, kw_only=True)
class ScanOpened:
    """Name a scan that is being opened, and the job that reads it."""

    scan: str
    job: str


@dataclass(frozen=True, kw_only=True)
class JobAccepted:
    """Name a job."""

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
class SearchFilters:
    """Require all of these of each case.

    Attributes:
        labels: that it has.
        without_labels: that it does not have.
        age_min, age_max: years, both included.
        sex: of the patient.
        date_from, date_to: as 2019, 2019-03 or 2019-03-04, both included.
        scanner: part of its name.
    """

    labels: list[str] = field(default_factory=list)
    without_labels: list[str] = field(default_factory=list)
    age_min: int | None = None
    age_max: int | None = None
    sex: Literal["", "F", "M", "O"] = ""
    date_from: str = ""
    date_to: str = ""
    scanner: str = ""


@dataclass(frozen=True, kw_only=True)
class SearchQuery:
    """Ask for cases; one of `scan`, `hit`, `text`, `keyword` and `report` at least, several are fused by rank.

    Attributes:
        scan: an open scan: cases that look like it.
        hit: a case that was found: cases that look like it.
        text: what should be present, in free text.
        keyword: effusion NOT pericardial, "lung nodule" OR nodul*.
        report: cases that it would describe.
        filters: what must hold of each case.
        exclude: of what is looked for.
        top: how many cases, from 1 to 1,000.
        exact: miss none, also where the index has a faster way.
    """

    scan: str | None = None
    hit: str | None = None
    text: str = ""
    keyword: str = ""
    report: str = ""
    filters: SearchFilters = field(default_factory=SearchFilters)
    exclude: list[Literal["scan", "patient", "duplicates"]] = field(default_factory=list)
    top: int = 10
    exact: bool = False


@dataclass(frozen=True, kw_only=True)
class SearchHit:
    """Describe a case that was found.

    Attributes:
        hit: its id while the server runs.
        score: larger is better.
        labels: of its report.
        sentence: of its report, that matched.
        thumbnail: address of a picture of a few slices; None where none is kept.
        scan_available: whether it can be opened.
        sex: "F", "M", "O" or "".
        age: years.
    """

    hit: str
    score: float
    labels: list[str]
    sentence: str
    thumbnail: str | None
    scan_available: bool
    sex: str
    age: int | None


@dataclass(frozen=True, kw_only=True)
class SearchAnswer:
    """Hold hits, best first, and the seconds that they took."""

    hits: list[SearchHit]
    encoding: float
    searching: float


@dataclass(frozen=True, kw_only=True)
class Readiness:
    """Say whether the server has loaded its models."""

    ready: bool
    problem: ErrorBody | None


@dataclass(frozen=True, kw_only=True)
class IndexSize:
    """Say how many volumes the index has."""

    records: int


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


@dataclass(frozen=True, kw_only=True)
class IndexRequest:
    """Add an open scan to the index.

    Attributes:
        scan: an open scan.
        report: words of its report, without names.
    """

    scan: str
    report: str = ""
