"""Decide whether a question needs a scan: without one, such a question is declined before any model is asked."""

from __future__ import annotations

import re
from typing import Final

REFUSAL: Final = "No scan is given, so nothing can be said about one. Give a scan, or ask a general question."

_POINTS_AT_ONE: Final = re.compile(
    r"\b(?:this|these|the|my|his|her|their|our|that)\s+(?:\w+\s+){0,2}"
    r"(?:scan|ct|study|image|images|slice|slices|volume|examination|exam|patient|case|chest|lungs?|heart|report|findings?|impression"
    r"|effusion|nodules?|opacit\w+|lesions?|consolidation|mass)\b"
    r"|\b(?:first|second|two|both) scans?\b"
    r"|\b(?:you|i|we) (?:see|observe|find|detect|notice)\b"
    r"|^\W*(?:(?:is|are|was|were) there|(?:do|does|did) (?:it|this|he|she|they|the)|any)\b"
    r"|\b(?:present|visible|seen|shown|enlarged)\s*\?"
    r"|^\W*(?:on |in )?(?:which|what) (?:side|lobes?)\b|^\W*how (?:large|big|many|wide)\b"
    r"|\bwhat(?:'s| is| does it)? (?:wrong|abnormal|measure)\b|\bdiagnos(?:is|e)\b.*\b(?:here|me|patient)\b"
    r"|^\W*(?:describe|summari[sz]e|interpret|report on|list)\b(?!.*\b(?:in general|generally)\b)"
    r"|\b(?:write|generate|produce|give|create|draft|dictate)\b.*\b(?:report|impression|findings)\b",
    re.IGNORECASE,
)
_GENERAL: Final = re.compile(
    r"^\W*(?:in general|generally|usually|define|explain what"
    r"|what (?:is|are) (?:a |an )?(?!the\b|this\b|wrong\b|abnormal\b)[\w -]+\??$"
    r"|what (?:causes|does .* mean)|how (?:is|are) .*(?:treated|diagnosed|graded|defined|staged|measured)"
    r"|why (?:is|are|do|does) (?!the\b|this\b))",
    re.IGNORECASE,
)
_THIS_ONE: Final = re.compile(r"\b(?:this|my|his|her|these)\s+(?:\w+\s+)?(?:scan|ct|study|image|patient|case|examination)\b", re.IGNORECASE)


def requires_scan(question: str, *, task: str) -> bool:
    """Tell whether only a scan can answer a question. A report is always of a scan."""
    if task == "report_generation":
        return True
    if _GENERAL.search(question) and not _THIS_ONE.search(question):
        return False
    return _POINTS_AT_ONE.search(question) is not None
