"""Define what the server says of itself, of jobs and of errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

JobState = Literal["queued", "running", "done", "failed", "cancelled"]
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
class JobAccepted:
    """Name a job."""

    job: str


@dataclass(frozen=True, kw_only=True)
class Readiness:
    """Say whether the server has loaded its models."""

    ready: bool
    problem: ErrorBody | None
