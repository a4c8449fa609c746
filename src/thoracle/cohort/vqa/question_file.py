"""A file of questions of any size: one streamed pass checks it and notes where its entries stand, and each is read when it is needed.

A published file is one JSON array of millions of entries. It is cut where an entry can only begin, and the parts are checked by several
processes, in as much memory as the longest entry that is taken; what is noted of an entry has 24 bytes.

Shapes: K conversations.
"""

from __future__ import annotations

import json
import os
import re
from array import array
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from thoracle.cohort.vqa.vqa_file import QuestionSet, check_entry, parse_entry
from thoracle.errors import InputError, MetadataError
from thoracle.execution.local import LocalExecutor
from thoracle.files.atomic import write_atomic
from thoracle.files.json_file import load_json, write_json

#: Of the notes on the disk; a change that breaks readers takes the next number.
_FORMAT: Final = "thoracle.questions/1"
#: Of an entry: where it begins and its bytes, the number of its images among `QuestionFile.images`, and a hash of its id.
_NOTE: Final = np.dtype([("offset", "<i8"), ("size", "<i4"), ("images", "<i4"), ("hash", "<u8")])
_LONGEST: Final = 1 << 22
_CHUNK: Final = 1 << 24
_PART: Final = 1 << 25
_MOST_IMAGES: Final = 1 << 28
_ENTRY_BEGINS: Final = re.compile(rb'\}[ \t\r\n]*,[ \t\r\n]*(?=\{[ \t\r\n]*"(?:id|image|conversations)"[ \t\r\n]*:)')
_COMMA: Final = re.compile(r"[ \t\r\n]*,[ \t\r\n]*")
_BLANK: Final = re.compile(r"[ \t\r\n]*")


class QuestionFile(Sequence[QuestionSet]):
    """Give a file's conversations, or some of them, each read from the disk when it is asked for.

    Attributes:
        path: of the file.
        images: names of volumes that conversations are about; each combination once.
        notes_K: of each conversation, as `_NOTE`.
    """

    def __init__(self, path: Path, images: Sequence[tuple[str, ...]], notes_K: NDArray[np.void]) -> None:
        self.path, self.images, self.notes_K = path, images, notes_K
        self._file = path.open("rb")  # one for all processes: `pread` moves nothing that they share

    def __len__(self) -> int:
        return len(self.notes_K)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.select(np.arange(len(self))[index])
        note = self.notes_K[index]
        content = os.pread(self._file.fileno(), int(note["size"]), int(note["offset"]))
        try:
            return parse_entry(json.loads(content))
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise _refused(self.path, f"an entry changed while it was used ({type(error).__name__})") from error

    def select(self, chosen: NDArray[Any]) -> QuestionFile:
        """Return the conversations of these numbers, or those that a mask marks."""
        return QuestionFile(self.path, self.images, self.notes_K[chosen])


@dataclass(frozen=True, kw_only=True, eq=False)
class Outline:
    """Hold what is known of conversations without reading them.

    Attributes:
        images: names of volumes that they are about; each combination once.
        group_K: which of these each is about.
        size_K: about how much text each has.
    """

    images: Sequence[tuple[str, ...]]
    group_K: NDArray[np.int32]
    size_K: NDArray[np.int32]

    @property
    def names(self) -> set[str]:
        """Return the names of all volumes that they are about."""
        return {name for group in np.unique(self.group_K).tolist() for name in self.images[group]}


def outline(conversations: Sequence[QuestionSet]) -> Outline:
    """Return the outline of a file's conversations, or of a list's."""
    if isinstance(conversations, QuestionFile):
        notes = conversations.notes_K
        return Outline(images=conversations.images, group_K=notes["images"], size_K=notes["size"])
    numbers: dict[tuple[str, ...], int] = {}
    groups = [numbers.setdefault(conversation.images, len(numbers)) for conversation in conversations]
    sizes = [sum(len(pair.question) + len(pair.answer) for pair in conversation.pairs) for conversation in conversations]
    return Outline(images=list(numbers), group_K=np.array(groups, np.int32), size_K=np.array(sizes, np.int32))


def open_questions(path: Path, *, cache: Path | None = None, workers: int = 1) -> QuestionFile:
    """Open a published question file, or ours.

    Args:
        path: of the file.
        cache: folder that keeps what is noted, so that a file that did not change is not gone through again.
        workers: processes that go through it.

    Raises:
        InputError: no such file.
        MetadataError: another form; says at which entry.
    """
    if not path.is_file():
        raise InputError("no such file", hint="Make one with `thoracle vqa COHORT --out vqa.json`.", source=path)
    status = path.stat()
    key = sha256(json.dumps([_FORMAT, str(path.absolute()), status.st_size, status.st_mtime_ns]).encode()).hexdigest()[:32]
    names, notes = (None, None) if cache is None else (cache / f"{key}.json", cache / f"{key}.npy")
    if names is not None and notes is not None and notes.is_file():
        images = [tuple(group) for group in load_json(names, budget=_MOST_IMAGES)]
        return QuestionFile(path, images, np.load(notes, mmap_mode="r"))
    images, notes_K = _go_through(path, workers)
    if names is not None and notes is not None:
        write_json(names, images, private=True)
        buffer = BytesIO()
        np.save(buffer, notes_K)
        write_atomic(notes, buffer.getbuffer(), private=True)
    return QuestionFile(path, images, notes_K)


def _go_through(path: Path, workers: int) -> tuple[list[tuple[str, ...]], NDArray[np.void]]:
    parts = _parts(path)
    with closing(LocalExecutor(workers=workers).map(partial(_worker, path), parts)) as outcomes:
        noted = sorted(outcomes, key=lambda outcome: outcome.index)
    if any(outcome.error is not None for outcome in noted) and len(parts) > 1:
        noted = list(LocalExecutor(workers=1).map(partial(_worker, path), [range(parts[0].start, parts[-1].stop)]))  # counts its entries
    numbers: dict[tuple[str, ...], int] = {}
    notes: list[NDArray[np.void]] = []
    for outcome in noted:
        images, part_K = outcome.output_or_raise()
        renumbered = np.array([numbers.setdefault(group, len(numbers)) for group in images] or [0], np.int32)
        part_K["images"] = renumbered[part_K["images"]]
        notes.append(part_K)
    return list(numbers), np.concatenate(notes)


def _parts(path: Path) -> list[range]:
    """Cut what stands between the array's brackets into parts of whole entries."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        tail = (file.seek(max(0, size - _CHUNK)), file.read())[1].rstrip(b" \t\r\n")
        file.seek(0)
        head = file.read(_CHUNK)
        begin, end = len(head) - len(head.lstrip(b" \t\r\n")), max(0, size - _CHUNK) + len(tail) - 1
        if head[begin : begin + 1] != b"[" or not tail.endswith(b"]") or end <= begin:
            raise _refused(path, "it is no list" if head[begin : begin + 1] in (b"{", b"") else "it cannot be read")
        begins, ends = [begin + 1], []
        for target in range(begin + _PART, end - _LONGEST, _PART):
            file.seek(target)
            match = _ENTRY_BEGINS.search(file.read(_LONGEST))
            if match is not None:
                ends.append(target + match.start() + 1)
                begins.append(target + match.end())
    return [range(first, last) for first, last in zip(begins, [*ends, end], strict=True)]


def _worker(path: Path) -> partial[tuple[list[tuple[str, ...]], NDArray[np.void]]]:
    return partial(_note, path)


def _note(path: Path, part: range) -> tuple[list[tuple[str, ...]], NDArray[np.void]]:
    """What is noted of the entries of a part."""
    numbers: dict[tuple[str, ...], int] = {}
    notes = array("Q")  # four numbers an entry: millions of tuples would keep the garbage collector at work
    try:
        for offset, size, entry in _entries(path, part):
            images = check_entry(entry)
            digest = int.from_bytes(sha256(str(entry["id"]).encode("utf-8", "replace")).digest()[:8])
            notes.extend((offset, size, numbers.setdefault(images, len(numbers)), digest))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        why = "it cannot be read" if isinstance(error, json.JSONDecodeError | RecursionError) else "it is of another form"
        raise _refused(path, f"entry {len(notes) // 4}: {why} ({type(error).__name__}: {str(error)[:80]})") from error
    columns = np.frombuffer(notes, np.uint64).reshape(-1, 4)
    notes_K = np.empty(len(columns), _NOTE)
    for name, column in zip(_NOTE.names or (), columns.T, strict=True):
        notes_K[name] = column
    return list(numbers), notes_K


def _entries(path: Path, part: range) -> Iterator[tuple[int, int, Any]]:
    """Yield where each entry begins, its bytes, and the entry. Text is decoded a character a byte, so that places in it are places in the
    file; an entry that is not ASCII is decoded again."""
    decode = json.JSONDecoder().raw_decode
    with path.open("rb") as file:
        file.seek(part.start)
        text, at, left, is_ascii = "", 0, len(part), True
        after_comma = False
        while True:
            if left and len(text) - at < _LONGEST:
                chunk = file.read(min(_CHUNK, left))
                left = left - len(chunk) if chunk else 0
                text, at = text[at:] + chunk.decode("latin-1"), 0
                is_ascii = text.isascii()
            at = _blank(text, at)
            if at == len(text) and not after_comma:
                return
            value, end = decode(text, at)
            if end - at > _LONGEST:
                raise ValueError(f"more than {_LONGEST:,} bytes")
            if not is_ascii and not text[at:end].isascii():
                value = json.loads(text[at:end].encode("latin-1"))
            yield part.stop - left - len(text) + at, end - at, value
            comma = _COMMA.match(text, end)
            if comma is None and _blank(text, end) < len(text):
                raise ValueError("no comma follows it")
            at, after_comma = (end, False) if comma is None else (comma.end(), True)


def _blank(text: str, at: int) -> int:
    match = _BLANK.match(text, at)
    assert match is not None, "nothing is a match too"
    return match.end()


def _refused(path: Path, why: str) -> MetadataError:
    return MetadataError(f"is no file of questions: {why}", hint="Give one as CT-CHAT's, or of `thoracle vqa`.", source=path)
