"""Fields of template reports: a name, then a colon, bar, dash, tab, "=", "?", dots or a bracket, then what is so.

A field denies its name ("none", "no", "(-)", "0"), states it ("yes", "mild", "(+)"), or goes on in words of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Final, Literal

import yaml  # type: ignore[import-untyped]

from thoracle.inference.labeler.sentences import any_blanks

Verdict = Literal["denied", "stated", "words"]

#: Between a name and its field. The weak ones part them only where an answer follows.
_MARK: Final = re.compile(
    r"\s*(?::|=+|\||\t|->|=>)\s*"
    r"|\s*(?P<weak>\?|,(?=\s?(?:none|no|nil|absent|negative|yes|present)\s*(?:$|;))|\.{3,}|…|_{3,}|(?<=\w)\s-{1,2}(?=\s)|\s{3,}|\n)\s*"
    r"|\s?(?P<bracket>[(\[{])"
)
#: Yes or no, ticked: the box stands before its word.
_CHOICE: Final = re.compile(
    r"(?P<tick>\[ ?\]|\( ?\)|☐|\[[x✓✔*]\]|\([x✓✔]\)|☑|☒|✓|✔)\s*(?P<word>yes|no|present|absent|none|normal|abnormal)\b"
)
_TICKED: Final = re.compile(r"[x✓✔*☑☒]")
_BOX: Final = re.compile(r"(?P<tick>\[ ?\]|☐|\[[x✓✔*]\]|☑|☒|✓|✔)\s*(?=[a-z])")
_CLOSED: Final = {"(": ")", "[": "]", "{": "}"}
_NAMES: Final = re.compile(r"\s*[:=|]")
_QUESTION: Final = re.compile(
    r"^\s*(?:is|are|was|were) there (?:any |an? )?|^\s*(?:is|are) (?=.* (?:present|seen|visible)\s*$)| (?:present|seen|visible)\s*$"
)
_FRONT: Final = re.compile(r"[\s,;.]+")
_WORDS: Final = re.compile(r"[\w/&'.+-]+")
#: A name has no more words, and no verb.
_LONGEST_NAME: Final = 8
_LONGEST_BRACKET: Final = 40
_VERB: Final = re.compile(
    r"\b(?:is|are|was|were|has|have|had|be|been|shows?|showed|seen|observed|noted|detected|measures?|measuring|which|that)\b"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class TemplateField:
    """Hold a name and its field, as places in a sentence.

    Attributes:
        name_start, name_end: of the name.
        start, end: of the field.
        verdict: whether the field denies or states its name, or neither: then its words do.
        answer_end: where the words end that deny or state.
    """

    name_start: int
    name_end: int
    start: int
    end: int
    verdict: Verdict
    answer_end: int


def template_fields(text: str) -> list[TemplateField]:
    """Find the fields of a sentence in folded letters; none in prose."""
    fields = list(_boxes(text))
    if fields:
        return fields
    name_start = 0
    marks = list(_MARK.finditer(text))
    for number, mark in enumerate(marks):
        if mark.start() < name_start:
            continue
        own_start = _phrase(text, name_start, mark.start())
        if not _is_name(text[own_start : mark.start()]) or _answer(text, own_start, mark.start(), whole=True)[0] == "denied":
            name_start = own_start
            continue
        field = _field(text, own_start, mark, marks[number + 1 :])
        if field is not None and field.verdict == "denied" and _is_name(text[name_start : mark.start()]):
            front = _FRONT.match(text, name_start, mark.start())
            field = replace(field, name_start=front.end() if front else name_start)  # "effusion, consolidation: none" denies both
        if field is not None:
            fields.append(field)
            name_start = field.end
    return fields


def _field(text: str, name: int, mark: re.Match[str], following: list[re.Match[str]]) -> TemplateField | None:
    if mark["bracket"]:
        close = text.find(_CLOSED[mark["bracket"]], mark.end())
        if close < 0 or close - mark.end() > _LONGEST_BRACKET or _NAMES.match(text, close + 1):
            return None
        verdict, answered = _answer(text, mark.start("bracket"), close + 1, whole=True)
        if verdict == "words":
            return None
        return TemplateField(name_start=name, name_end=mark.start(), start=close + 1, end=close + 1, verdict=verdict, answer_end=close + 1)
    end = len(text)
    verdict, answered = _answer(text, mark.end(), end)
    if mark["weak"] and verdict == "words":
        return None
    for later in following:
        if later["bracket"] or (later["weak"] and later["weak"] != "?" and "." not in later["weak"]) or later.start() < answered:
            continue
        start = _phrase(text, answered, later.start(), least=answered if verdict != "words" else -1)
        if start > 0 and _is_name(text[start : later.start()]) and "|" not in later.group():
            end = start
            break
    return TemplateField(name_start=name, name_end=mark.start(), start=mark.end(), end=end, verdict=verdict, answer_end=answered)


def _phrase(text: str, first: int, last: int, *, least: int | None = None) -> int:
    """Where the last phrase before a mark begins: behind a comma or stop; without one at `least`."""
    cut = max(text.rfind(mark, first, last) + len(mark) if text.rfind(mark, first, last) >= 0 else -1 for mark in (", ", "; ", ". "))
    if cut >= 0:
        return cut
    return first if least is None else least


def _is_name(text: str) -> bool:
    text = _QUESTION.sub("", text)
    words = _WORDS.findall(text)
    return 0 < len(words) <= _LONGEST_NAME and any(letter.isalpha() for letter in text) and not _VERB.search(text)


def _boxes(text: str) -> Iterator[TemplateField]:
    """Boxes before their names: "[x] emphysema [ ] nodule"."""
    boxes = [box for box in _BOX.finditer(text) if not _CHOICE.match(text, box.start())]
    if not boxes or text[: boxes[0].start()].strip():
        return
    for box, following in zip(boxes, [*boxes[1:], None], strict=True):
        end = len(text) if following is None else following.start()
        verdict: Verdict = "stated" if _TICKED.search(box["tick"]) else "denied"
        yield TemplateField(name_start=box.end(), name_end=end, start=end, end=end, verdict=verdict, answer_end=end)


def _answer(text: str, start: int, end: int, *, whole: bool = False) -> tuple[Verdict, int]:
    """Whether a field denies, states, or goes on in words; and where that ends. With `whole`, nothing else may stand there."""
    choices = list(_choices(text, start, end))
    for choice in choices:
        if _TICKED.search(choice["tick"]):
            return ("denied" if choice["word"] in ("no", "absent", "none", "normal") else "stated"), choices[-1].end()
    for verdict, pattern in _answers().items():
        match = pattern.match(text, start, end)
        if match and (not whole or match.end() == end):
            return verdict, match.end()
    return "words", start


def _choices(text: str, start: int, end: int) -> Iterator[re.Match[str]]:
    """Boxes one behind the other from `start` on: those further on are another field's."""
    for choice in _CHOICE.finditer(text, start, end):
        if text[start : choice.start()].strip(" ,;/|"):
            return
        start = choice.end()
        yield choice


@cache
def _answers() -> dict[Verdict, re.Pattern[str]]:
    """Expressions for fields, by what they say of their name; the first that matches holds."""
    phrases = yaml.load(files(__package__).joinpath("fields.yaml").read_text("utf-8"), Loader=yaml.CSafeLoader)
    verdicts: tuple[Verdict, ...] = ("words", "denied", "stated")
    return {verdict: re.compile(rf"(?:{any_blanks('|'.join(phrases[verdict]))})(?!\w)") for verdict in verdicts}
