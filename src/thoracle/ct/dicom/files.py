"""Open the bytes of a study: one file, a folder or a .zip; links among files on disk are followed, links and paths in archives never."""

from __future__ import annotations

import io
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Final

from thoracle.ct.formats import NIFTI_SUFFIXES, detect_format
from thoracle.errors import BudgetExceeded, CorruptFile, ScanUnreadable, TruncatedFile, UnsafeArchive, UnsupportedFormat
from thoracle.files.folder_tree import UnlistedPath, list_tree

MAX_FILES: Final = 20_000  # of an archive, or of one series: a study with every reconstruction has some 5,000 images
MAX_MEMBER_BYTES: Final = 640 << 20  # 1,200 slices of 512 x 512 in one multi-frame object
MAX_RATIO: Final = 100  # CT voxels compress to a half or a third; a member that shrinks this much is no scan
FREE_BYTES: Final = 64 << 20  # what may be inflated whatever its ratio: an empty segmentation compresses well
_HEAD_BYTES: Final = 1 << 16  # holds the header of a classic slice and the start of its pixels
_CHUNK: Final = 1 << 20
_ENCRYPTED: Final = 1

#: What the zip, deflate and file layers raise on damaged bytes.
_DAMAGE: Final = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError)


@dataclass(frozen=True, kw_only=True)
class StudyFile:
    """Describe one file or archive member. `label` is for error messages alone; `size` bounds what `read` returns."""

    label: str
    size: int
    open: Callable[[], IO[bytes]]

    def head(self) -> bytes:
        """Read the first 64 KiB."""
        with self.reading() as file:
            return file.read(_HEAD_BYTES)

    def read(self) -> bytearray:
        """Read all bytes into memory allocated once.

        Raises:
            TruncatedFile: fewer bytes than the file system or archive promised.
            CorruptFile: damaged compression or checksum.
        """
        content = bytearray(self.size)
        view, filled = memoryview(content), 0
        with self.reading() as file:
            while got := file.readinto(view[filled : filled + _CHUNK]):  # type: ignore[attr-defined]
                filled += got
        if filled < self.size:
            raise TruncatedFile(f"expected {self.size:,} bytes, got {filled:,}", hint="Copy it again.", source=self.label)
        return content

    @contextmanager
    def reading(self) -> Iterator[IO[bytes]]:
        """Open the file; errors of its layers on damaged bytes leave the block as `CorruptFile`, the system's as `ScanUnreadable`."""
        try:
            with self.open() as file:
                yield file
        except _DAMAGE as error:
            if isinstance(error, OSError) and error.errno is not None:
                reason = error.strerror or "cannot be read"
                raise ScanUnreadable(reason, hint="Mend the permissions, or copy the file again.", source=self.label) from error
            raise CorruptFile(f"could not be read ({type(error).__name__})", hint="Copy it again.", source=self.label) from error


@dataclass(frozen=True, kw_only=True)
class StudyFiles:
    """List the files of a study, and what of its folder could not be listed."""

    sources: tuple[StudyFile, ...]
    unlisted: tuple[UnlistedPath, ...] = ()


@contextmanager
def open_study_files(path: Path, *, files: Sequence[Path] = ()) -> Iterator[StudyFiles]:
    """List the files of one file, folder or .zip, in order of name; an archive stays open inside the block.

    Args:
        path: what holds the files.
        files: those of them that are wanted; without, all are listed.

    Raises:
        BudgetExceeded: more members or bytes than an archive of a study may have.
        UnsafeArchive: an archive member that is a link or leaves the archive.
        UnsupportedFormat: an archive that is encrypted, or packed in another way than by deflate.
        CorruptFile: an archive whose directory is damaged.
        ScanUnreadable: a folder whose files cannot be listed.
    """
    if files:
        yield StudyFiles(sources=tuple(map(study_file, files)))
    elif path.is_dir():
        yield _list_folder(path)
    elif detect_format(path) == "zip":
        try:
            archive = zipfile.ZipFile(path)
        except (*_DAMAGE, ValueError) as error:
            raise CorruptFile("not a sound .zip: its directory is damaged", hint="Copy it again.", source=path) from error
        with archive:
            yield StudyFiles(sources=tuple(_members(archive, path)))
    else:
        yield StudyFiles(sources=(study_file(path),))


def _list_folder(folder: Path) -> StudyFiles:
    """Regular files and links to them; pipes and devices are not opened (they could hang)."""
    tree = list_tree(folder, hidden=True)
    for unlisted in tree.unlisted:
        if unlisted.kind == "folder":  # a part of the series may lie there: the rest would pass for the whole
            raise ScanUnreadable(f"a folder {unlisted.reason}", hint="Allow it to be read, or take it away.", source=unlisted.path)
    return StudyFiles(sources=tuple(map(study_file, tree.files)), unlisted=tree.unlisted)


def study_file(path: Path) -> StudyFile:
    """Describe one file on disk.

    Raises:
        OSError: its size cannot be read.
    """
    return StudyFile(label=str(path), size=path.stat().st_size, open=lambda: path.open("rb"))


def _members(archive: zipfile.ZipFile, path: Path) -> Iterator[StudyFile]:
    members = archive.infolist()
    _require_few(len(members), path)
    # Overlapping members are how a small archive holds a large one many times.
    if sum(member.compress_size for member in members) > path.stat().st_size:
        raise BudgetExceeded("members overlap: together they are longer than the archive", hint="Do not trust this file.", source=path)
    for member in sorted(members, key=lambda m: m.filename):
        _require_safe(member, path)
        if not member.filename.endswith("/"):
            name = "".join(c for c in member.filename if c.isprintable())
            yield StudyFile(label=f"{path}/{name}", size=member.file_size, open=_opener(archive, member))


def _opener(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
    return lambda: io.BufferedReader(archive.open(member))  # type: ignore[type-var]  # steps back without inflating anew


def _require_safe(member: zipfile.ZipInfo, path: Path) -> None:
    name = member.filename.replace("\\", "/")
    if name.startswith("/") or ".." in PurePosixPath(name).parts or name[1:2] == ":":
        raise UnsafeArchive("a member's path leaves the archive", hint="Do not trust this file.", source=path)
    if stat.S_ISLNK(member.external_attr >> 16):
        raise UnsafeArchive("a member is a link", hint="Pack the files themselves (zip without -y).", source=path)
    if member.flag_bits & _ENCRYPTED:
        raise UnsupportedFormat("the archive is encrypted", hint="Unpack it with its password and give the folder.", source=path)
    # bzip2 and LZMA inflate a block whole, whatever was asked for, and so keep no budget.
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UnsupportedFormat("the archive is not packed by deflate", hint="Unpack it and give the folder.", source=path)
    if member.file_size > MAX_MEMBER_BYTES or member.file_size > max(FREE_BYTES, MAX_RATIO * member.compress_size):
        raise BudgetExceeded(
            f"a member of {member.compress_size:,} bytes would inflate to {member.file_size:,}",
            hint="If it is a scan, unpack it and give the folder.",
            source=path,
        )


def _require_few(count: int, path: Path) -> None:
    if count > MAX_FILES:
        raise BudgetExceeded(f"more than {MAX_FILES:,} files", hint="Give the folder or archive of one study.", source=path)


def holds_nifti(listing: StudyFiles) -> bool:
    """Tell whether a name among the files is NIfTI's, for the hint."""
    return any(source.label.lower().endswith(NIFTI_SUFFIXES) for source in listing.sources)
