"""Show the demo's chat answers about held-out phantoms, beside its answers without them, as parts of a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from thoracle.errors import MetadataError
from thoracle.evaluation.html.page import heading, paragraph, table, with_bounds
from thoracle.files.json_file import read_json_object
from thoracle.types import RESEARCH_USE

#: Shown, where they were measured.
_SHOWN: Final = (
    "presence balanced accuracy",
    "presence balanced accuracy, mean of abnormalities",
    "side accuracy",
    "choice accuracy",
    "clinical F1",
    "clinical macro F1",
    "CRG",
)


@dataclass(frozen=True, kw_only=True)
class SampleConversation:
    """Hold questions about one scan with the answers, and what was painted into it."""

    turns: Sequence[tuple[str, str]]
    present: Sequence[str]


def figures_of(path: Path) -> dict[str, tuple[str, str]]:
    """Read metrics by name, with the scan and without, from the JSON of `thoracle evaluate chat`."""
    hint = "Give what `thoracle evaluate chat` wrote."
    return read_json_object(path, parse=_parse, refusal=MetadataError, detail="is no evaluation of a chat", hint=hint)


def _parse(values: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    seeing, blind = values["with the scan"], values["without the scan"]
    return {name: (_told(seeing[name]), _told(blind[name])) for name in _SHOWN if name in seeing}


def sentences(figures: Mapping[str, tuple[str, str]]) -> list[str]:
    """Write the metrics as sentences."""
    return [f"Chat, {name}: {seeing} with the scan, {blind} without it." for name, (seeing, blind) in figures.items()]


def section(figures: Mapping[str, tuple[str, str]], answers: SampleConversation) -> list[str]:
    """Build the parts of the demo's page."""
    return [
        heading("Questions about held-out phantoms"),
        table(["", "with the scan", "without it"], [[name, *both] for name, both in figures.items()]),
        paragraph("Without the scan the same model can only guess. Intervals are 95%, by 1,000 draws of patients."),
        paragraph(f"One scan, into which this was painted: {', '.join(answers.present) or 'nothing'}."),
        *(paragraph(f"{question} {answer}") for question, answer in answers.turns),
        paragraph(f"These are words of a model that knows only phantoms. {RESEARCH_USE}"),
    ]


def _told(interval: Mapping[str, Any]) -> str:
    value, low, high = (float("nan") if interval[name] is None else interval[name] for name in ("value", "low", "high"))
    return with_bounds(value, low, high)
