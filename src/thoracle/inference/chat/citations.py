"""Hold an answer's citations to the evidence that was given: others are removed, and each statement without one says so."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from thoracle.text_safety import terminal_safe

NO_CITATION: Final = "[no source]"
#: Letters that look like those of ids, in other scripts too.
_LETTERS: Final[Mapping[str, str]] = {
    **dict.fromkeys("FfＦｆϜ𝐅𝐟𝖥𝙵Ғ", "F"),
    **dict.fromkeys("CcＣｃСсϹϲⅭⅽ𝐂𝐜𝖢𝙲", "C"),
}
_ID: Final = re.compile(rf"(?<!\w)([{''.join(_LETTERS)}])[\s_.:#‐‑‒–—−-]{{0,2}}(\d+)(\w?)(?!\w)")
#: Characters that are not seen, and divide an id.
_INVISIBLE: Final = dict.fromkeys((0xAD, 0x34F, 0x180E, *range(0x200B, 0x200E), *range(0x2060, 0x2065), 0xFEFF))
_OWN_MARK: Final = re.compile(r"\s*\[\s*no\s+source\s*\]", re.IGNORECASE)
_NUMBERS: Final = re.compile(r"\s*[\[【]\s*\d+(?:\s*[,;–-]\s*\d+)*\s*[\]】]")
_LINK: Final = re.compile(r"(?<=[\])】])\(\s*(?:[a-z][a-z0-9+.-]*:|//|www\.)[^)\s]*\s*\)?", re.IGNORECASE)
_EMPTY: Final = re.compile(r"\s*(?:\[[\s,;/&-]*\]|\([\s,;/&-]*\)|【[\s,;/&-]*】|\{[\s,;/&-]*\})")
_LEADING, _TRAILING, _DOUBLE = (re.compile(pattern) for pattern in (r"([\[(【])[\s,;]+", r"[\s,;]+([\])】])", r"([,;])(?:\s*[,;])+"))
_UNCLOSED: Final = re.compile(r"\s*[\[【][\s,;]*(?=[.!?;…。]?\s*$)")
#: A citation in brackets, after the stop of the statement that it belongs to.
_GROUP: Final = r"\s*[\[(【]\s*[^\s\[\](){}【】\d]{1,2}\d[^\[\](){}【】\n]*[\])】]"
_END: Final = re.compile(rf"[.!?;…。！？；]+[\"'”’)*_]*(?:{_GROUP}[.;]?)*(?=\s+(?![\[(【])\S|[\s]*\n)|(?<=[。！？；…])(?=\S)|\n")
_ABBREVIATION: Final = re.compile(
    r"(?:^|[\s(])(?:drs?|prof|mr|mrs|ms|vs|approx|ca|cf|figs?|st|e\.g|i\.e|pt|resp|incl|max|min|vol|seg|dept|est|[A-Z])$", re.IGNORECASE
)
_LIST_NUMBER: Final = re.compile(r"(?:^|\n)\s*(?:[-*•]\s*)?\(?(?:\d{1,3}|[a-zA-Z]|[ivx]{1,4})$")
_HEADING: Final = re.compile(r"\s*(?:#{1,6}\s+\S.*|(?:[*_]{2})[^*_]+(?:[*_]{2}):?|[^.!?;\n]{1,60}:)\s*")
_PREDICATE: Final = re.compile(
    r"\b(?:is|are|was|were|be|has|have|had|shows?|showed|reveals?|demonstrates?|suggests?|indicates?|means?|needs?|requires?|should|must"
    r"|can|may|might|will|appears?|remains?|seems?|represents?|causes?)\b",
    re.IGNORECASE,
)
_JOINT: Final = re.compile(
    r"\s*,\s*(?:(?:and|but|or|so|while|whereas|yet|which|therefore|thus|then)\s+)?(?=\S)|\s+(?:and|but|while|whereas|so|because|although"
    r"|though|therefore|thus|yet)\s+|\s+[-–—]+\s+|\s*[—]\s*|:\s+",
    re.IGNORECASE,
)
#: What no finding of a detector says, unless it is called so.
_BEYOND: Final = re.compile(r"malign|cancer|carcinom|tumou?r|metasta|\bmass(?:es)?\b|lymphoma|sarcoma", re.IGNORECASE)


def filter_citations(pieces: Iterable[str], sources: Mapping[str, str]) -> Iterator[str]:
    """Yield an answer by statements with citations of the sources alone; a clause without one says so.

    Args:
        pieces: of the answer, as they come.
        sources: what each id stands for, "name: …" of a finding.
    """
    pending = ""
    for piece in pieces:
        pending += terminal_safe(piece)
        while end := _statement_end(pending):
            yield _checked(pending[:end], sources)
            pending = pending[end:]
    if pending.strip():
        yield _checked(pending, sources)


def cited(text: str, sources: Mapping[str, str]) -> dict[str, str]:
    """Return the sources that a text cites, in any spelling."""
    names = {name for match in _ID.finditer(text) if (name := _name(match)) in sources}
    return {name: source for name, source in sources.items() if name in names}


def _statement_end(text: str) -> int:
    """Find where the first statement ends that is certain to; 0 for none."""
    for match in _END.finditer(text):
        before = text[: match.start()]
        if match[0].startswith(".") and (_ABBREVIATION.search(before) or _LIST_NUMBER.search(before)):
            continue
        if match[0].startswith(".") and re.search(r"(?:^|\s)no$", before, re.IGNORECASE) and re.match(r"\s*\d", text[match.end() :]):
            continue
        return match.end()
    return 0


def _checked(statement: str, sources: Mapping[str, str]) -> str:
    text = _cleaned(statement, sources)
    if not re.search(r"\w", text) or _LIST_NUMBER.search(text.rstrip(" .)")):
        return text
    if _HEADING.fullmatch(text) and not _PREDICATE.search(text) and not _BEYOND.search(text):
        return text
    clauses = _clauses(text)
    cited_by = [cited(clause, sources) for clause in clauses]
    shared = len(cited_by[-1]) >= len(clauses)  # "an effusion, and the heart is enlarged [F1, F2]"
    return "".join(
        clause if (names or shared) and _is_relevant(clause, names or cited_by[-1], sources) else _marked(clause)
        for clause, names in zip(clauses, cited_by, strict=True)
    )


def _cleaned(statement: str, sources: Mapping[str, str]) -> str:
    """Remove ids that were not given, in any spelling, and what was around them; spell the others as they were given."""
    text = _LINK.sub("", _NUMBERS.sub("", _OWN_MARK.sub("", statement.translate(_INVISIBLE))))
    cleaned = _ID.sub(lambda match: name if (name := _name(match)) in sources else "", text)
    while cleaned != text:
        text = cleaned
        cleaned = _DOUBLE.sub(r"\1", _TRAILING.sub(r"\1", _LEADING.sub(r"\1", _EMPTY.sub("", cleaned))))
        cleaned = _UNCLOSED.sub("", cleaned)
    return text


def _name(match: re.Match[str]) -> str:
    """Spell an id; one with a letter behind it is none."""
    digits = "".join(str(unicodedata.digit(digit)) for digit in match[2])
    return "" if match[3] else f"{_LETTERS[match[1]]}{digits}"


def _clauses(text: str) -> list[str]:
    """Divide a statement where both sides say something of their own."""
    masked = re.sub(r"[\[(【][^\[\]()【】]*[\])】]", lambda match: "x" * len(match[0]), text)
    joints = [match.end() for match in _JOINT.finditer(masked)]
    bounds = [0]
    for joint, following in zip(joints, [*joints[1:], len(text)], strict=False):
        if _PREDICATE.search(masked, bounds[-1], joint) and _PREDICATE.search(masked, joint, following):
            bounds.append(joint)
    return [text[start:end] for start, end in zip(bounds, [*bounds[1:], len(text)], strict=True)]


def _is_relevant(clause: str, names: Mapping[str, str], sources: Mapping[str, str]) -> bool:
    """Tell whether a clause may rest on what it cites: not, if it names another finding alone, or what no finding says."""
    if any(name.startswith("C") for name in names):
        return True
    lower = clause.lower()
    titles = {name: source.split(":")[0].lower() for name, source in sources.items() if name.startswith("F")}
    if any(titles[name] in lower for name in names):
        beyond = _BEYOND.search(clause)
        return beyond is None or any(beyond[0].lower() in titles[name] for name in names)
    return not any(title in lower for title in titles.values()) and _BEYOND.search(clause) is None


def _marked(clause: str) -> str:
    """Say that a clause has no source, before what joins it to the next."""
    tail = re.search(r"(?:\s*,\s*(?:(?:and|but|or|so|while|whereas|yet|which|therefore|thus|then)\s+)?|\s+(?:and|but|while|whereas|so"
                     r"|because|although|though|therefore|thus|yet)\s+|\s*[-–—]+\s+|:?\s*)$", clause, re.IGNORECASE)  # fmt: skip
    end = tail.start() if tail else len(clause)
    return f"{clause[:end]} {NO_CITATION}{clause[end:]}"
