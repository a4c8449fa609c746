"""Show the demo's chat answers about held-out phantoms, beside its answers without them, as parts of a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from thoracle.errors import MetadataError
from thoracle.evaluation.chat.report import BLIND, SEEING
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
    "long answer clinical F1",
)


@dataclass(frozen=True, kw_only=True)
class SampleConversation:
    """Hold questions about one scan with the answers, and what was painted into it."""

    turns: Sequence[tuple[str, str]]
    present: Sequence[str]


def figures_of(path: Path) -> dict[str, tuple[str, str, str]]:
    """Read metrics by name, with the scan, without it, and the paired difference, from the JSON of `thoracle evaluate chat`."""
    hint = "Give what `thoracle evaluate chat` wrote."
    return read_json_object(path, parse=_parse, refusal=MetadataError, detail="is no evaluation of a chat", hint=hint)


def _parse(values: Mapping[str, Any]) -> dict[str, tuple[str, str, str]]:
    columns = (values[SEEING], values[BLIND], values["differences"][f"{SEEING} minus {BLIND}"])
    return {name: (_told(columns[0][name]), _told(columns[1][name]), _told(columns[2][name])) for name in _SHOWN if name in columns[0]}


def sentences(figures: Mapping[str, tuple[str, str, str]]) -> list[str]:
    """Write the metrics as sentences."""
    return [
        f"Chat, {name}: {seeing} with the scan, {blind} without it, difference {gain}." for name, (seeing, blind, gain) in figures.items()
    ]


def section(figures: Mapping[str, tuple[str, str, str]], answers: SampleConversation) -> list[str]:
    """Build the parts of the demo's page."""
    return [
        heading("Questions about held-out phantoms"),
        table(["", SEEING, "without it", "difference"], [[name, *texts] for name, texts in figures.items()]),
        paragraph("Without the scan the same model can only guess. Intervals are 95%, by 1,000 draws of patients, the same for both."),
        paragraph(f"One scan, into which this was painted: {', '.join(answers.present) or 'nothing'}."),
        *(paragraph(f"{question} {answer}") for question, answer in answers.turns),
        paragraph(f"These are words of a model that knows only phantoms. {RESEARCH_USE}"),
    ]


def _told(interval: Mapping[str, Any]) -> str:
    value, low, high = (float("nan") if interval[name] is None else interval[name] for name in ("value", "low", "high"))
    return with_bounds(value, low, high)
