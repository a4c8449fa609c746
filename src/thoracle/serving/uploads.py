"""Stream an upload to the disk, counted while it comes; names that the sender gave its files are never used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
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
) -> None:
    """Write the files of a request's body into a folder, each named by its number and its content.

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
    make_private_folder(folder)
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
    finally:
        receiver.close()


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


class _Files:
    """Files of an upload, one after the other."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._head = b""
        self.number = 0

    def begin(self) -> None:
        self.number += 1
        if self.number > _MOST_FILES:
            raise BudgetExceeded(f"the upload has more than {_MOST_FILES:,} files", hint="Send one study.")
        self._file, self._head = open_owned(self._path, "xb", private=True), b""

    def write(self, content: bytes) -> None:
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
        self._path.rename(self._path.with_suffix(f"{suffix}.gz" if self._head.startswith(_GZIP) else suffix))

    @property
    def _path(self) -> Path:
        return self._folder / f"{self.number:05d}"


class _OneFile:
    """The body is one file."""

    def __init__(self, folder: Path) -> None:
        self._files = _Files(folder)
        self._files.begin()

    def write(self, piece: bytes) -> None:
        self._files.write(piece)

    def finish(self) -> None:
        self._files.end()

    def close(self) -> None:
        self._files.end()


class _FormFiles:
    """Each part of a form that has content is a file; names of parts and of files are not looked at."""

    def __init__(self, folder: Path, boundary: bytes) -> None:
        self._files, self._complete = _Files(folder), False
        callbacks: Any = {
            "on_part_begin": self._files.begin,
            "on_part_data": lambda data, start, end: self._files.write(data[start:end]),
            "on_part_end": self._files.end,
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

    def close(self) -> None:
        self._files.end()

    def _note_end(self) -> None:
        self._complete = True
