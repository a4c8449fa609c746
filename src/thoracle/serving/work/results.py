"""Define what worker processes hand to the server, which loads no model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from thoracle.client.forms.scans import FindingRow
from thoracle.client.forms.service import ChatFacts, ErrorBody, IndexFacts, ModelFacts

#: Lanes of jobs.
READING: Final = "reading"
MODELS: Final = "models"
SEARCH: Final = "search"


@dataclass(frozen=True, kw_only=True)
class SeriesRead:
    """Say what became of one series of an upload: its folder, or why it was refused, and notes on what was left out beside it."""

    folder: str
    error: ErrorBody | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FindingsRead:
    """Hold findings: the document of `thoracle detect --json`, and rows for people."""

    document: dict[str, Any]
    rows: list[FindingRow]


@dataclass(frozen=True, kw_only=True)
class RecordFound:
    """Describe a hit for the server, which alone knows what its record is called.

    Attributes:
        number: of its record in the index.
        volume: what the record is called.
        source_sha256: of the file that was indexed; "" where that is not known.
        score, labels, sentence, sex, age: for people.
        has_thumbnail: whether slices of it are kept.
    """

    number: int
    volume: str
    source_sha256: str
    score: float
    labels: list[str]
    sentence: str
    sex: str
    age: int | None
    has_thumbnail: bool


@dataclass(frozen=True, kw_only=True)
class RecordsFound:
    """Hold hits, best first, and seconds."""

    hits: list[RecordFound]
    encoding: float
    searching: float


@dataclass(frozen=True, kw_only=True)
class SourceCited:
    """Name a source that an answer cites: its id, its words, and the finding or the record that it is, with its file's bytes."""

    id: str
    kind: Literal["finding", "case"]
    text: str
    finding: str | None
    number: int | None
    volume: str
    source_sha256: str


@dataclass(frozen=True, kw_only=True)
class AnswerGiven:
    """Hold an answer as it was shown, the model's own words, and its sources."""

    shown: str
    words: str
    sources: list[SourceCited]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Describe what a process has loaded."""

    model: ModelFacts
    regions: bool
    index: IndexFacts | None
    chat: ChatFacts | None
    chat_hint: str
