"""Stream an upload to the disk, counted while it comes; names that the sender gave its files are never written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import IO, Any, Final

from python_multipart.multipart import MultipartParser, parse_options_header

from thoracle.ct.formats import HEAD_BYTES, Format, content_format
from thoracle.errors import BudgetExceeded, InputError, TruncatedFile
from thoracle.files.atomic import make_private_folder, open_owned

#: Files of one upload: a study of a few series has some thousands of slices.
_MOST_FILES: Final = 20_000
_SUFFIXES: Final[dict[Format, str]] = {"nifti": ".nii", "nrrd": ".nrrd", "metaimage": ".mha", "zip": ".zip", "dicom": ".dcm"}
_GZIP: Final = b"\x1f\x8b"
_HINT: Final = "Send files as multipart/form-data, or one as application/octet-stream or application/zip."


async def receive(
    body: AsyncIterator[bytes], content_type: str, folder: Path, *, limit: int, idle_seconds: float, count: Callable[[int], None]
) -> Mapping[Path, str]:
    """Write the files of a request's body into a folder, each named by its number and its content; return what the sender called them.

    A header that names the file of its voxels can be read by these names alone; nothing else looks at them.

    Args:
        body: pieces as they come.
        content_type: of the request.
        folder: made here.
        limit: bytes of the body.
        idle_seconds: that may pass without a byte.
        count: told of bytes before they are written; may raise.

    Raises:
        BudgetExceeded: more bytes, or more files, than may be.
        TruncatedFile: the sender fell silent, or the body ended in its middle.
        InputError: neither files of a form nor one file.
    """
    receiver = _receiver(content_type, folder)
    size = 0
    try:
        while (piece := await _next(body, idle_seconds)) is not None:
            size += len(piece)
            if size > limit:
                hint = "Send one series, or start the server with a larger --upload-limit."
                raise BudgetExceeded(f"the upload has more than {limit:,} bytes", hint=hint)
            count(len(piece))
            await asyncio.to_thread(receiver.write, piece)
        receiver.finish()
        return receiver.files.names
    finally:
        receiver.files.end()


async def _next(body: AsyncIterator[bytes], idle_seconds: float) -> bytes | None:
    try:
        return await asyncio.wait_for(anext(body, None), idle_seconds)
    except TimeoutError as error:
        raise TruncatedFile(f"nothing came for {idle_seconds:g} seconds", hint="Send it again.") from error


def _receiver(content_type: str, folder: Path) -> _OneFile | _FormFiles:
    kind, options = parse_options_header(content_type)
    if kind == b"multipart/form-data":
        if not options.get(b"boundary"):
            raise InputError("the form has no boundary", hint=_HINT)
        return _FormFiles(folder, options[b"boundary"])
    if kind in (b"application/octet-stream", b"application/zip", b"application/gzip", b"application/dicom"):
        return _OneFile(folder)
    raise InputError(f"an upload of {kind.decode('latin-1')!r:.40} is no scan", hint=_HINT)


class NumberedFiles:
    """Write files of an upload, one after the other, under numbers.

    Attributes:
        names: what the sender called each.
    """

    def __init__(self, folder: Path) -> None:
        make_private_folder(folder)
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._head, self._name = b"", ""
        self._number = 0
        self.names: dict[Path, str] = {}

    def begin(self, name: str = "") -> None:
        """Begin a file, which the sender calls `name`.

        Raises:
            BudgetExceeded: there are too many.
        """
        self._number += 1
        if self._number > _MOST_FILES:
            raise BudgetExceeded(f"the upload has more than {_MOST_FILES:,} files", hint="Send one study.")
        self._file, self._head, self._name = open_owned(self._path, "xb", private=True), b"", name

    def write(self, content: bytes) -> None:
        """Write the next bytes of the file."""
        assert self._file is not None, "a file was begun"
        self._head += content[: HEAD_BYTES - len(self._head)]
        self._file.write(content)

    def end(self) -> None:
        """Give the file a suffix of its content, by which readers know what has no magic of its own; drop an empty one."""
        if self._file is None:
            return
        self._file.close()
        self._file = None
        if not self._head:
            self._path.unlink()
            return
        suffix = _SUFFIXES.get(content_format(self._head), "")
        path = self._path.rename(self._path.with_suffix(f"{suffix}.gz" if self._head.startswith(_GZIP) else suffix))
        self.names[path] = self._name

    @property
    def _path(self) -> Path:
        return self._folder / f"{self._number:05d}"


class _OneFile:
    """The body is one file."""

    def __init__(self, folder: Path) -> None:
        self.files = NumberedFiles(folder)
        self.files.begin()

    def write(self, piece: bytes) -> None:
        self.files.write(piece)

    def finish(self) -> None:
        self.files.end()


class _FormFiles:
    """Each part of a form that has content is a file; names of parts are not looked at."""

    def __init__(self, folder: Path, boundary: bytes) -> None:
        self.files, self._complete = NumberedFiles(folder), False
        self._field, self._value, self._name = bytearray(), bytearray(), ""
        callbacks: Any = {
            "on_part_begin": self._begin_part,
            "on_header_field": lambda data, start, end: self._field.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": lambda: self.files.begin(self._name),
            "on_part_data": lambda data, start, end: self.files.write(data[start:end]),
            "on_part_end": self.files.end,
            "on_end": self._note_end,
        }
        self._parser = MultipartParser(boundary, callbacks)

    def write(self, piece: bytes) -> None:
        try:
            self._parser.write(piece)
        except ValueError as error:
            raise InputError("the body is no multipart form", hint=_HINT) from error

    def finish(self) -> None:
        if not self._complete:
            raise TruncatedFile("the form ended in its middle", hint="Send it again.")

    def _begin_part(self) -> None:
        self._name = ""

    def _end_header(self) -> None:
        if self._field.lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._value))
            self._name = options.get(b"filename", b"").decode("utf-8", "surrogateescape")
        self._field.clear()
        self._value.clear()

    def _note_end(self) -> None:
        self._complete = True
