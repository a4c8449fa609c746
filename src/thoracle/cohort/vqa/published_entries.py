"""Note where entries of the published layout stand, block by block, by a decoder that takes that layout alone.

Why a boundary that the pattern finds is one: in valid JSON its quotation mark opens a key, so that all of it stands outside of strings; and
entries of this layout hold no other object with such a key, for unknown keys are refused. So a block that decodes to one entry more than
it has boundaries has no others either. One program writes a file, and all its boundaries as the same bytes: these are searched for first,
and the pattern only where they are too few. What is not of this layout to the letter is left to whoever reads any.
"""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
import numpy as np
from msgspec import Meta, Struct, field
from numpy.typing import NDArray

from thoracle.cohort.vqa.vqa_file import LONGEST

#: Of an entry: where it begins and its bytes, the number of its images among those of its file, and a hash of its id.
NOTE: Final = np.dtype([("offset", "<i8"), ("size", "<i4"), ("images", "<i4"), ("hash", "<u8")])
#: From the end of an entry to the beginning of the next one.
BOUNDARY: Final = re.compile(rb'\}[ \t\r\n]*,[ \t\r\n]*(?=(\{[ \t\r\n]*"(?:id|image|conversations)"[ \t\r\n]*:))')
#: Of under two hundred entries: what is made of them stays in a core's cache.
_BLOCK: Final = 1 << 17
_BLANK: Final = b" \t\r\n"


class _Turn(Struct, forbid_unknown_fields=True, gc=False):
    """Hold a turn; two of the longest make the longest pair that is taken."""

    speaker: Literal["human", "gpt"] = field(name="from")
    value: Annotated[str, Meta(max_length=LONGEST // 2)]
    type: str = ""
    topic: str = ""
    about: str = ""


class _Entry(Struct, forbid_unknown_fields=True, gc=False):
    id: str
    conversations: Annotated[list[_Turn], Meta(min_length=1)]
    image: str | list[str] | None = None


_DECODER: Final = msgspec.json.Decoder(list[_Entry])


def note_published(path: Path, part: range) -> tuple[list[tuple[str, ...]], NDArray[np.void]] | None:
    """Note the entries of a part of a file, and the combinations of images that their notes number; None where one of them is, or may
    be, of another form."""
    numbers: dict[str | tuple[str, ...], int] = {}
    notes: list[NDArray[np.void]] = []
    pattern = BOUNDARY
    with path.open("rb") as file:
        file.seek(part.start)
        held, left = b"", len(part)
        while left:
            chunk = file.read(min(_BLOCK, left))
            held, left = held + chunk, left - len(chunk) if chunk else 0
            if pattern is BOUNDARY and (first := BOUNDARY.search(held)):
                pattern = re.compile(b"%b(?=%b)" % (re.escape(first[0]), re.escape(first[1])))
            cut = _cut(held, pattern, at_end=not left) or _cut(held, BOUNDARY, at_end=not left)
            if cut is None:
                return None
            entries, ends, begins = cut
            note_K = np.empty(len(entries), NOTE)
            note_K["offset"] = begins[: len(ends)]
            note_K["size"] = ends - note_K["offset"]
            note_K["offset"] += part.stop - left - len(held)
            images = [entry.image or () for entry in entries]
            note_K["images"] = [numbers.setdefault(image if isinstance(image, str) else tuple(image), len(numbers)) for image in images]
            note_K["hash"] = np.frombuffer(b"".join([sha256(entry.id.encode()).digest()[:8] for entry in entries]), ">u8")
            notes.append(note_K)
            held = held[begins[-1] :]
    return [(image,) if isinstance(image, str) else image for image in numbers], np.concatenate(notes or [np.empty(0, NOTE)])


def _cut(held: bytes, pattern: re.Pattern[bytes], *, at_end: bool) -> tuple[list[_Entry], list[int], list[int]] | None:
    """Return the entries between boundaries, where they end, and where they begin; None where the pattern does not part them all.

    The last one begins after the last that ends, unless it is the end.
    """
    spans = [match.span() for match in pattern.finditer(held)]
    ends, begins = [end + 1 for end, _ in spans], [len(held) - len(held.lstrip(_BLANK)), *(begin for _, begin in spans)]
    if at_end:
        ends.append(len(held.rstrip(_BLANK)))
    entries = _decoded(held[begins[0] : ends[-1]]) if ends else None
    return (entries, ends, begins) if entries is not None and len(entries) == len(ends) else None


def _decoded(block: bytes) -> list[_Entry] | None:
    """Return a block's entries; None where one is of another form."""
    try:
        entries = _DECODER.decode(b"[%b]" % block)
    except (msgspec.DecodeError, RecursionError):
        return None
    turns = [entry.conversations for entry in entries]
    speakers = [turn.speaker for conversation in turns for turn in conversation]
    if any(len(conversation) % 2 for conversation in turns) or speakers != ["human", "gpt"] * (len(speakers) // 2):
        return None
    return entries
