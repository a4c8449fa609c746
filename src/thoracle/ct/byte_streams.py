"""The bytes of one file, plain or compressed, into one array of a size known beforehand.

Nothing is allocated before the file could hold it, nothing is unpacked beyond what was promised, and every checksum is checked.
"""

from __future__ import annotations

import bz2
import hashlib
import io
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import numpy as np
from isal import igzip, isal_zlib

from thoracle.errors import BudgetExceeded, CorruptFile, TruncatedFile, UnsafeArchive
from thoracle.types import StoredArray

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Codec = Literal["plain", "gzip", "zlib", "bzip2"]

#: What one scan may take unpacked: 1024 x 1024 x 2048 voxels of two bytes.
BUDGET_BYTES: Final = 4 << 30

_DEFLATE_LIMIT = 1032  # bytes that one byte of deflate can become at most (zlib's technical notes)
# A scan's noise keeps it below 20:1 and a noiseless phantom below 300:1; what expands more, and is large, is a bomb.
_BOMB_RATIO = 500
_BOMB_BYTES = 256 << 20
_CHUNK = 1 << 18
_LONGEST_TAIL = 8  # bytes of line ends and blanks that editors, mailers and transfers in text mode leave behind the data
_BLANKS = b" \t\r\n"
_DeflateError = cast(type[Exception], isal_zlib.error)
_COPY_AGAIN = "Copy or download the file again."


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Locate voxels: they start `skip` bytes into what `path` holds, unpacked by `codec`, from byte `start` on; they are its end."""

    path: Path
    codec: Codec
    file_offset: int = 0
    payload_offset: int = 0


def codec_of(path: Path) -> Codec:
    """Tell the codec from the file's first bytes, whatever its name says."""
    with path.open("rb") as file:
        return "gzip" if file.read(2) == b"\x1f\x8b" else "plain"


def read_prefix(path: Path, size: int) -> bytes:
    """Read at most `size` first bytes of a plain or gzip file, decompressed.

    Raises:
        CorruptFile: the file's beginning does not unpack.
    """
    stream = Stream(path=path, codec=codec_of(path))

    def first(file: BufferedIOBase) -> bytes:
        return file.read(size)

    return _without_tail(stream, first)[0]


def decompress_into(
    stream: Stream, *, shape: tuple[int, ...], dtype: np.dtype[Any], hashed: tuple[Path, ...]
) -> tuple[StoredArray, str, tuple[str, ...]]:
    """Fill one array from a stream, and hash files meanwhile (both leave the interpreter free, so two cores share the work).

    Args:
        stream: where the voxels are; its unpacked end must be the array's end.
        shape: of the array, first index fastest.
        dtype: as stored, either byte order.
        hashed: the files whose bytes, one after the other, make the SHA-256.

    Returns:
        The array (Fortran order, native byte order), the hash, and a note where line ends or blanks follow the voxels.

    Raises:
        TruncatedFile: the file holds fewer bytes than shape and dtype take.
        BudgetExceeded: it takes more than `BUDGET_BYTES`, or unpacks beyond what a scan can.
        CorruptFile: wrong checksum, undecodable bytes, or more bytes than shape and dtype take.
    """
    count = math.prod(shape)
    _require_possible(stream, stream.payload_offset + count * dtype.itemsize)
    try:
        flat = np.empty(count, dtype)
    except MemoryError as error:
        detail = f"needs {count * dtype.itemsize:,} bytes of memory, which this machine does not have free"
        raise BudgetExceeded(detail, hint="Read it on a larger machine.", source=stream.path) from error
    with ThreadPoolExecutor(1, thread_name_prefix="sha256") as pool:
        digest = pool.submit(sha256_of, *hashed)
        tail = _fill(stream, flat.view(np.uint8).data)
    notes = (f"{tail} byte(s) of line ends or blanks after the voxels left out",) if tail else ()
    if not dtype.isnative:
        flat = flat.byteswap(inplace=True).view(dtype.newbyteorder("="))
    return flat.reshape(shape, order="F"), digest.result(), notes


def file_beside(header: Path, name: str, data: Path | None = None) -> Path:
    """Find the data file that a detached header names, which must lie in the header's own folder ("./x.raw" does).

    Args:
        header: file of the header.
        name: that the header gives.
        data: the file where it is known, whatever it is called now.

    Raises:
        UnsafeArchive: the name is a path to elsewhere.
        TruncatedFile: no such file.
    """
    plain = name.removeprefix("./")
    if plain in ("", ".", "..") or any(mark in plain for mark in "/\\:\0"):
        detail = "the header names a data file outside its own folder"
        raise UnsafeArchive(detail, hint="Put the data file beside the header, and only its name into it.", source=header)
    if data is not None:
        return data
    if not header.with_name(plain).is_file():
        detail = "the header names a data file, or several, that do not lie beside it"
        raise TruncatedFile(detail, hint="Copy header and data together; several must be joined first (unu save).", source=header)
    return header.with_name(plain)


def sha256_of(*paths: Path) -> str:
    """Hash the bytes of files, one after the other."""
    digest = hashlib.sha256()
    chunk = bytearray(_CHUNK)
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while got := file.readinto(chunk):
                digest.update(memoryview(chunk)[:got])
    return digest.hexdigest()


def _require_possible(stream: Stream, need: int) -> None:
    """Judge the promised size against the file's, before a byte of it is allocated."""
    size = stream.path.stat().st_size - stream.file_offset
    most = {"plain": size, "gzip": size * _DEFLATE_LIMIT, "zlib": size * _DEFLATE_LIMIT, "bzip2": need}[stream.codec]
    if need > most:
        detail = f"the header promises {need:,} bytes, and {size:,} bytes ({stream.codec}) hold {most:,} at most"
        raise TruncatedFile(detail, hint=_COPY_AGAIN, source=stream.path)
    if need > BUDGET_BYTES:
        detail = f"the header promises {need:,} bytes, one scan may take {BUDGET_BYTES:,}"
        raise BudgetExceeded(detail, hint="Crop or resample the scan, or store it as int16.", source=stream.path)
    if stream.codec != "plain" and need > max(_BOMB_BYTES, _BOMB_RATIO * size):
        detail = f"{size:,} bytes ({stream.codec}) promise {need:,}, more than {_BOMB_RATIO} times as much: no scan packs so well"
        raise BudgetExceeded(detail, hint="If it is one, unpack it first.", source=stream.path)


def _fill(stream: Stream, target: memoryview) -> int:
    """Fill the target with the end of what the stream unpacks to, and count the blanks that follow it there or in the file."""
    need = stream.payload_offset + len(target)

    def read(file: BufferedIOBase) -> bytes:
        position = 0
        while position < stream.payload_offset and (got := len(file.read(min(_CHUNK, stream.payload_offset - position)))):
            position += got
        while stream.payload_offset <= position < need and (got := file.readinto(target[position - stream.payload_offset :])):
            position += got
        if position < need:
            raise TruncatedFile(f"the header promises {need:,} bytes, the file holds {position:,}", hint=_COPY_AGAIN, source=stream.path)
        # Asking for more makes the decoder check its checksum, too.
        return file.read(_LONGEST_TAIL + 1)

    surplus, tail = _without_tail(stream, read)
    if len(surplus) > _LONGEST_TAIL or surplus.strip(_BLANKS):
        detail = f"the header promises {need:,} bytes, the file holds more: its dimensions or type are not those of its voxels"
        raise CorruptFile(detail, hint="Export the scan again from its source.", source=stream.path)
    return len(surplus) + tail


def _without_tail(stream: Stream, read: Callable[[BufferedIOBase], bytes]) -> tuple[bytes, int]:
    """Read the unpacked file; if that fails and the packed bytes end in blanks, again without one, two and more of them.

    The last bytes of a sound gzip stream are its length, which may look like blanks; hence the whole of it is tried first.

    Returns:
        What `read` returned, and how many bytes were left out.
    """
    try:
        with _unpacked(stream) as file:
            return read(file), 0
    except CorruptFile as error:
        if stream.codec == "plain":
            raise
        for tail in range(1, _blank_tail(stream.path) + 1):
            try:
                with _unpacked(stream, tail=tail) as file:
                    return read(file), tail
            except CorruptFile:
                continue
        raise error


def _blank_tail(path: Path) -> int:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _LONGEST_TAIL))
        end = file.read()
    return len(end) - len(end.rstrip(_BLANKS))


@contextmanager
def _unpacked(stream: Stream, *, tail: int = 0) -> Iterator[BufferedIOBase]:
    """The unpacked file, but for a packed tail; whatever the decoder complains of becomes one of our errors."""
    with stream.path.open("rb") as raw:
        source: BufferedIOBase = io.BufferedReader(_Shortened(raw, os.fstat(raw.fileno()).st_size - tail)) if tail else raw
        source.seek(stream.file_offset)
        try:
            with _decoder(source, stream.codec) as file:
                yield file
        except EOFError as error:
            raise TruncatedFile(f"the {stream.codec} stream is cut", hint=_COPY_AGAIN, source=stream.path) from error
        # A wrong checksum is an OSError; a gzip header longer than the decoder's input buffer is an OverflowError.
        except (OSError, OverflowError, _DeflateError) as error:
            raise CorruptFile(f"the {stream.codec} stream is damaged ({error})", hint=_COPY_AGAIN, source=stream.path) from error


class _Shortened(io.RawIOBase):
    """Bytes of a file up to `end`."""

    def __init__(self, file: BufferedIOBase, end: int) -> None:
        self._file, self._end = file, end

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        return self._file.readinto(view[: max(0, min(len(view), self._end - self._file.tell()))])


def _decoder(raw: BufferedIOBase, codec: Codec) -> BufferedIOBase:
    if codec == "gzip":
        return cast(BufferedIOBase, igzip.open(raw, "rb"))  # type: ignore[no-untyped-call]
    if codec == "zlib":
        return io.BufferedReader(_Inflated(raw), _CHUNK)
    return bz2.BZ2File(raw) if codec == "bzip2" else raw


class _Inflated(io.RawIOBase):
    """Unpacked bytes of one zlib stream that ends where its file ends."""

    def __init__(self, file: BufferedIOBase) -> None:
        self._file, self._decoder, self._packed = file, isal_zlib.decompressobj(), b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        while not self._decoder.eof:
            self._packed = self._packed or self._file.read(_CHUNK)
            if not self._packed:
                raise EOFError
            unpacked = self._decoder.decompress(self._packed, len(view))
            self._packed = self._decoder.unconsumed_tail
            if unpacked:
                view[: len(unpacked)] = unpacked
                return len(unpacked)
        if self._decoder.unused_data or self._file.read(1):
            raise OSError("more bytes follow its end")
        return 0
