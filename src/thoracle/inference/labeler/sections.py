"""Part a report into sections, and leave out those that state no finding: indication, history, technique, comparison, question.

A heading is a name of `headings.yaml` before a colon, or alone at the front of a line. A silent section ends at the next heading; where
none follows, at the line's end, or at the first full stop of a line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

import yaml  # type: ignore[import-untyped]

from thoracle.inference.labeler.sentences import any_blanks

_NAME: Final = re.compile(
    r"(?:^|(?<=[\n\r])|(?<=[.;|•*>)\]][ \t])|(?<=\s\s))[ \t>*#_<|-]{0,6}(?:\d{1,2}[.)][ \t]*)?"
    r"(?P<name>[A-Za-z][A-Za-z/&-]*(?:[ ]+[A-Za-z/&][A-Za-z/&-]*){0,6})[ \t]*(?:\([^()\n]{0,30}\))?[ \t*_]*"
    r"(?P<mark>:|\t|[=|]|[ ]-[ ]|(?=[\n\r]|$))"
)
_FULL_STOP: Final = re.compile(r"(?<!\b\d)(?<!\b\d\d)(?<!\b[A-Za-z])\.(?=\s+[A-Z])")
_BLANKS: Final = re.compile(r"\s*")
_LINE: Final = re.compile(r"[\n\r]+")
_PARAGRAPH: Final = re.compile(r"\n[ \t\r]*\n")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Heading:
    silent: bool
    start: int
    end: int


def stating_parts(report: str) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each part of a report that lies in no silent section."""
    headings = list(_headings(report))
    begin = 0
    for number, heading in enumerate(headings):
        if heading.silent and heading.start >= begin:
            yield begin, heading.start
            begin = _end(report, heading, headings[number + 1] if number + 1 < len(headings) else None)
    yield begin, len(report)


def _headings(report: str) -> Iterator[_Heading]:
    silent, stating = _patterns()
    for match in _NAME.finditer(report):
        name = match["name"].lower()
        is_silent = silent.fullmatch(name) is not None
        if not is_silent and not stating.fullmatch(name):
            continue
        if match["mark"] == ":" or (_opens_line(report, match.start("name")) and (match["mark"] or "\n" in report)):
            yield _Heading(silent=is_silent, start=match.start(), end=match.end())


def _opens_line(report: str, name: int) -> bool:
    near = report[max(0, name - 16) : name]
    return not re.split(r"[\n\r]", near)[-1].strip(" \t>*#_<|-.)0123456789") and (name < 16 or re.search(r"[\n\r]", near) is not None)


def _end(report: str, heading: _Heading, following: _Heading | None) -> int:
    """The end of a silent section."""
    text = _BLANKS.match(report, heading.end).end()  # type: ignore[union-attr]
    until = len(report) if following is None else max(text, following.start)
    paragraph = _PARAGRAPH.search(report, text, until)
    if paragraph is not None:
        return paragraph.start()
    if following is not None:
        return until
    line = _LINE.search(report, text)
    while line is not None and report[line.end() : line.end() + 1].islower():  # a wrapped line
        line = _LINE.search(report, line.end())
    if line is not None:
        return line.start()
    stop = _FULL_STOP.search(report, text)
    return until if stop is None else stop.end()


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Expressions for names of silent and of stating sections."""
    names = yaml.load(files(__package__).joinpath("headings.yaml").read_text("utf-8"), Loader=yaml.CSafeLoader)
    silent, stating = (re.compile(any_blanks("|".join(names[kind]))) for kind in ("silent", "stating"))
    return silent, stating
