"""The sentences of a report, each with its place in the text as it came.

Reports arrive with findings and impression run together, as lists, tables and wrapped lines: quotes, bullets and missing blanks between
sentences are the rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from thoracle.inference.labeler.english import has_words, is_english

#: A field that answers its name, and so is no sentence of its own: "Pericardial effusion? No", "Nodes - None".
_ANSWER: Final = r"(?i:none|no|nil|not|absent|negative|yes|present|positive|n/a|normal|small|mild|minimal|moderate|trace)\b"
#: A quote or bullet parts items of an impression; so does a stop, a semicolon or a question mark before what can begin a sentence.
_PART: Final = re.compile(
    rf"""[•·●▪◦‣■□“”„«»]+|"+        # bullets and quotes, however many
      | (?P<line>(?<![^\S\n\r])[^\S\n\r]*[\n\r]\s*) # a line's end
      | (?<=\s)[*➢→-]\s+(?=[A-Z])(?!{_ANSWER})  # a dash as a bullet
      | (?<=\s)\d{{1,2}}[.)]\s+(?=[A-Z]) | (?<=\s)\d{{1,2}}\)\s+
      | (?<=\S)\s/\s(?=[A-Z][A-Za-z ]{{2,30}}:) # a slash between items of a template
      | (?<=[^\s.])(?:\.{{1,2}}(?!\.)|\.{{3,}}(?!\s*{_ANSWER}))(?=\s+[^\sa-z]|\s*$)
      | (?<=[a-z]{{4}})\.+(?=\s+[a-z])
      | (?<=[a-z)\]])\.+(?=[A-Z][a-z]) # a blank was lost
      | (?<=[a-z)])\?+(?=\s+[A-Z]|$)(?!\s+{_ANSWER})
      | ;(?=\s|$)
      | '{{2,}}
    """,
    re.VERBOSE,
)
#: An answer that has a line of its own.
_ALONE: Final = re.compile(
    r"(?i:none|no|nil|absent|negative|not (?:seen|present|identified|detected)|yes|present|positive)\.?[^\S\n]*(?:[\n\r]|$)"
)
_ABBREVIATION: Final = re.compile(
    r"(?:^|[\s(])(?:dr|mr|mrs|ms|vs|approx|ca|cf|fig|no|st|e\.g|i\.e|pt|bilat|mod|pl|min|max|incl|resp|lt|rt|diam)$", re.IGNORECASE
)
#: What a sentence is without: at its front all but the dash of "-ve", at its end all but a field that is "-" or "?".
_FRONT: Final = re.compile(r"(?:[\s.,:;'`*|–—]|-(?![a-z]))+")
_STRIPPED: Final = " \t\r\n.,;'`*|"
#: Lines at least so long are wrapped where the next begins with a small letter.
_WRAPPED: Final = 40
#: What CT-RATE's tables hold where a section is empty.
_NOT_GIVEN: Final = "Not given."
#: Bytes that were none of the encoding, as `errors="surrogateescape"` keeps them.
_BROKEN: Final = re.compile("[\udc80-\udcff]")
#: No sentence is longer: what is, is cut where a phrase ends, so that time stays linear in a report's length.
_LONGEST: Final = 600
#: A word or two in quotes amid a sentence.
_QUOTED: Final = re.compile(r"""["“]\w[^"“”\n.]{0,30}\w["”](?=\s[a-z])""")
_LISTS: Final = re.compile(r"\s*no\s", re.IGNORECASE)
_LISTED: Final = re.compile(r"\s[a-z][a-z -]{2,24}(?:[;.]|$)")
_BEHIND: Final = re.compile(r"\(\?<[!=][^)]*\)")
_FOLDED: Final = str.maketrans({
    **dict.fromkeys("‐‑‒–—―−﹣－", "-"),
    **dict.fromkeys("\u00a0\u2002\u2003\u2009\u202f", " "),
    "’": "'",
})  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Sentence:
    """Hold a sentence whose `text` begins at `start` of the report; `opens_line` tells whether it is the first of its line."""

    text: str
    start: int
    opens_line: bool = True


def fold(text: str) -> str:
    """Return lower case, every dash "-" and every blank " ", letter by letter: places stay."""
    lower = text.lower()
    if len(lower) != len(text):
        lower = "".join(letter.lower() if len(letter.lower()) == 1 else letter for letter in text)
    return lower if lower.isascii() else lower.translate(_FOLDED)


def any_blanks(expression: str) -> str:
    """Return an expression whose blanks stand for any white space; within a look-behind, which has one width, for one."""
    fixed = _BEHIND.sub(lambda match: match.group().replace(" ", r"\s"), expression)
    return fixed.replace(" ?", r"\s?").replace(" ", r"\s+")


def sentences(report: str, begin: int = 0, end: int | None = None) -> Iterator[Sentence]:
    """Split a report, or a part of it, into sentences in order, without bullets, quotes and final stops."""
    last = len(report) if end is None else end
    opens, quoted = True, -1
    for part in _PART.finditer(report, begin, last):
        if part.start() < begin or (part.group()[0] == "." and _ABBREVIATION.search(report, max(begin, part.start() - 12), part.start())):
            continue
        if part.group()[0] == ";" and _LISTS.match(report[begin : begin + 8]) and _LISTED.match(report, part.end()):
            continue  # "No effusion; nodule; consolidation."
        if quotation := _QUOTED.match(report, part.start()):
            quoted = quotation.end()
        if part.start() < quoted:
            continue
        is_line = part.lastgroup == "line"
        if is_line and _goes_on(report, begin, part):
            continue
        stop = part.end() if part.group()[0] == "?" else part.start()
        yield from _stripped(report, begin, stop, opens)
        opens = is_line
        begin = part.end()
    yield from _stripped(report, begin, last, opens)


def unreadable(report: str) -> str:
    """Say why a text cannot be labelled; "" where it can: it holds words, and they are English."""
    if not has_words(report) or report.strip() == _NOT_GIVEN:
        return "no text"
    if _BROKEN.search(report):
        return "not in the table's encoding"
    return "" if is_english(report) else "not English"


def _goes_on(report: str, begin: int, line_end: re.Match[str]) -> bool:
    """Whether a sentence goes on in the next line: behind a colon, or where a long line was wrapped."""
    before = report[max(begin, line_end.start() - 2 * _WRAPPED) : line_end.start()].rstrip()
    after = report[line_end.end() : line_end.end() + 40]
    if _ALONE.match(after) and (":" not in line_end.group()) and re.search(r"[A-Za-z]$", before):
        return True
    if before.endswith(":"):
        return ":" not in after.partition("\n")[0] and line_end.group().count("\n") == 1
    line = len(before) - before.rfind("\n") - 1
    return line >= _WRAPPED and before[-1:] not in ".;:|" and after[:1].islower() and not re.match(r"[\w /]+[:=|\t]", after)


def _stripped(report: str, begin: int, end: int, opens_line: bool) -> Iterator[Sentence]:
    while end - begin > _LONGEST:
        cut = max(report.rfind(mark, begin + _LONGEST // 2, begin + _LONGEST) for mark in (",", " "))
        cut = cut if cut > 0 else begin + _LONGEST
        yield from _stripped(report, begin, cut, opens_line)
        begin, opens_line = cut, False
    front = _FRONT.match(report, begin, end)
    start = front.end() if front else begin
    text = report[start:end].rstrip(_STRIPPED)
    if any(letter.isalnum() for letter in text):
        yield Sentence(text=text, start=start, opens_line=opens_line)
