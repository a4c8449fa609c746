"""The words of a report, cleaned as published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Section = Literal["findings", "impression", "both"]

_EMPTY: Final = "Not given."
#: Hamamci et al. (arXiv:2403.17834) take these out before tokenisation, in training and in evaluation.
_REMOVED: Final = str.maketrans("", "", "\"'()")


@dataclass(frozen=True, kw_only=True)
class Report:
    """Hold a report's sections as their table has them; "" where one is absent. A text without sections is all findings."""

    findings: str = ""
    impression: str = ""

    def text(self, section: Section) -> str:
        """Return the cleaned text of one section (published pretraining took the findings), or of both, joined (published evaluation)."""
        chosen = {"findings": (self.findings,), "impression": (self.impression,), "both": (self.findings, self.impression)}[section]
        return " ".join(filter(None, map(clean_text, chosen)))


def clean_text(text: str) -> str:
    """Remove quotes, apostrophes and parentheses; "" for "Not given."."""
    stripped = text.strip()
    return "" if stripped == _EMPTY else stripped.translate(_REMOVED).strip()
