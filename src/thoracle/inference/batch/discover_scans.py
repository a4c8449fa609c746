"""Discover the scans of a command's files, folders, trees and tables.

In a tree a scan is a NIfTI, NRRD, MetaImage or .zip file, or a series of a CT, whether it has a folder to itself or lies among others.
Folders that hold parts of one series are one scan, the folder that holds them and none without it; where there is none such they fail:
half a series must never pass for a whole one. Other DICOM series (reports, scouts, projections, other modalities) are set aside, and
counted.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from thoracle.ct.metadata import LINE, METADATA_COLUMNS, MetadataTable
from thoracle.errors import InputError, MetadataError, ScanError, ScanUnreadable
from thoracle.files.folder_tree import list_tree
from thoracle.files.listed_names import locate, normalized_name
from thoracle.files.table import TABLE_SUFFIXES, UTF_8, TextTable
from thoracle.inference.batch.dicom_folders import look_into, series_locations, set_companions_aside

VOLUME_NAME = "VolumeName"

_LEVELS = 3  # of names: the file's, below the folder that was given, and with that folder's
#: What marks a table as CT-RATE's metadata, not a bare list of scans.
_METADATA_COLUMN = "XYSpacing"


@dataclass(frozen=True, kw_only=True)
class ScanLocation:
    """Locate one scan to read.

    Attributes:
        name: what its row is called: the file name, as CT-RATE does, or the path below the folder that was given,
            where file names are not unique and for DICOM folders. Of several series in a folder each has a hash of its UID behind it.
        path: what `read` is given.
        files: those of it that are the scan, where others lie beside them.
        table: the metadata table that lists it, if one does.
        fault: why it must not be read.
    """

    name: str
    path: Path
    files: tuple[Path, ...] = ()
    table: MetadataTable | None = None
    fault: ScanError | None = None


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Describe part `index` (from 1) of `count` equal parts."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Parse a shard such as "3/16".

        Raises:
            InputError: not two numbers, or outside 1 to the count.
        """
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        shard = cls(index=int(match[1]), count=int(match[2])) if match else None
        if shard is None or not 1 <= shard.index <= shard.count:
            raise InputError(f"--shard expects PART/PARTS with PART from 1 to PARTS, got {text!r}", hint="Write for example --shard 3/16.")
        return shard

    def of(self, scans: Sequence[ScanLocation]) -> tuple[ScanLocation, ...]:
        """Return every `count`-th scan in order of name; the shards of one list are disjoint and complete."""
        return tuple(sorted(scans, key=lambda scan: scan.name)[self.index - 1 :: self.count])

    def file(self, path: Path) -> Path:
        """Return the shard's own file: predictions.csv becomes predictions.3-of-16.csv."""
        return path.with_name(f"{path.stem}.{self.index}-of-{self.count}{path.suffix}")


def find_scans(
    paths: Sequence[Path], *, whole_folders: bool = False, encoding: str = UTF_8, notify: Callable[[str], None] = lambda _: None
) -> tuple[ScanLocation, ...]:
    """Find the scans in files, folders and tables (with `VolumeName` or `path`), in order of name.

    Args:
        paths: as the user gave them.
        whole_folders: take a folder of nothing but DICOM as one scan, as `read` does, not as a tree of them.
        encoding: of tables.
        notify: told what was set aside, and what could not be listed.

    Raises:
        InputError: a path does not exist, or two scans would carry one name.
        MetadataError: a table that cannot be used.
    """
    candidates: list[_Found] = []
    for path in paths:
        if not path.exists():
            raise InputError("no such file or folder", hint="Check the path.", source=path)
        if path.is_dir():
            candidates += _in_folder(path, as_volumes=whole_folders, notify=notify)
        elif path.suffix.lower() in TABLE_SUFFIXES:
            candidates += _in_table(TextTable(path=path, encoding=encoding))
        else:
            candidates.append(_Found(path=path, names=(path.name, f"{_folder_name(path.parent)}/{path.name}")))
    return _named(candidates)


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A scan and what it may be called, shortest first."""

    path: Path
    names: tuple[str, ...]
    files: tuple[Path, ...] = ()
    table: MetadataTable | None = None
    fault: ScanError | None = None


def _named(candidates: list[_Found]) -> tuple[ScanLocation, ...]:
    unique = list({_place(candidate): candidate for candidate in candidates}.values())
    shared = [Counter(candidate.names[min(level, len(candidate.names) - 1)] for candidate in unique) for level in range(_LEVELS)]
    scans = []
    for candidate in unique:
        name = next((name for name, count in zip(candidate.names, shared, strict=False) if count[name] == 1), candidate.names[-1])
        scans.append(
            ScanLocation(name=_clean(name), path=candidate.path, files=candidate.files, table=candidate.table, fault=candidate.fault)
        )
    twice = [name for name, count in Counter(scan.name for scan in scans).items() if count > 1]
    if twice:
        raise InputError(
            f"two scans would both be called {twice[0]!r}", hint="Give the folder above them, so that their paths tell them apart."
        )
    return tuple(sorted(scans, key=lambda scan: scan.name))


def _place(candidate: _Found) -> tuple[str, str]:
    """What two ways to one scan share."""
    return os.path.abspath(candidate.path), os.path.abspath(candidate.files[0]) if candidate.files else ""


def _clean(name: str) -> str:
    """One line of valid text that stays below any folder it is joined to."""
    text = re.sub(r"[\x00-\x1f\x7f]", "_", name.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
    return "/".join(part for part in PurePosixPath(text).parts if part not in ("/", "..")) or "scan"


def longer_names(scan: ScanLocation) -> Iterator[str]:
    """Yield a scan's name behind more and more of the folders that hold it, up to its whole path."""
    parts = Path(os.path.abspath(scan.path)).parts[1:]
    named = PurePosixPath(scan.name).parts
    # Of one of several series in a folder, the folder's place is all but the last part of the name.
    inside = next((length for length in (len(named), len(named) - 1) if length and parts[-length:] == named[:length]), 1)
    folders = parts[:-inside]
    for count in range(1, len(folders) + 1):
        yield _clean("/".join((*folders[-count:], scan.name)))


def _in_folder(root: Path, *, as_volumes: bool, notify: Callable[[str], None]) -> Iterator[_Found]:
    tree = list_tree(root)
    files, dicom = look_into(tree, notify)
    scans, companions = set_companions_aside(dicom, beside=bool(files))
    locations = tuple(series_locations(dicom, scans))
    if not files and (as_volumes or not locations):  # where nothing is recognised, `read` says why
        yield _Found(path=root, names=_folder_names(root))
        return
    if companions:
        kinds = ", ".join(f"{count} x {kind}" for kind, count in sorted(companions.items()))
        notify(f"{companions.total()} DICOM series set aside: {kinds}.")
    for path in files:
        yield _Found(path=path, names=(path.name, *_names_below(path, root)))
    for entry in tree.unlisted:
        if entry.kind == "folder":
            fault = ScanUnreadable(f"the folder {entry.reason}", hint="Allow it to be read.", source=entry.path)
            yield _Found(path=entry.path, names=_names_below(entry.path, root), fault=fault)
    for location in locations:
        names = _folder_names(root) if location.folder == root else _names_below(location.folder, root)
        names = tuple(f"{name}/{location.name}" if location.name else name for name in names)
        yield _Found(path=location.folder, names=names, files=location.files, fault=location.fault)


def _names_below(path: Path, root: Path) -> tuple[str, ...]:
    below = path.relative_to(root).as_posix()
    return below, f"{_folder_name(root)}/{below}"


def _folder_names(folder: Path) -> tuple[str, ...]:
    return _folder_name(folder), f"{_folder_name(folder.parent)}/{_folder_name(folder)}"


def _folder_name(folder: Path) -> str:
    return os.path.basename(os.path.abspath(folder))


def _in_table(table: TextTable) -> Iterator[_Found]:
    columns = table.columns
    column = next((name for name in columns if name.lower() == "path"), VOLUME_NAME if VOLUME_NAME in columns else None)
    if column is None:
        raise MetadataError(
            f"expected a column {VOLUME_NAME} or path, got {', '.join(columns) or 'none'}", hint="Name the column.", source=table.path
        )
    is_metadata = _METADATA_COLUMN in columns
    rows = [{LINE: str(row.line), **row.cells} for row in table.rows(columns=None if not is_metadata else METADATA_COLUMNS)]
    metadata = MetadataTable(rows, source=str(table.path)) if is_metadata else None
    for row in rows:
        listed_path = normalized_name(row.get(column, ""))
        if listed_path:
            name = normalized_name(row.get(VOLUME_NAME, "")) or PurePosixPath(listed_path).name
            yield _Found(path=_listed(table.path.parent, listed_path), names=(name, listed_path), table=metadata)


def _listed(folder: Path, listed_path: str) -> Path:
    """Beside the table, or where CT-RATE keeps it: train/train_1/train_1_a/train_1_a_1.nii.gz."""
    beside = locate(folder, listed_path)
    parts = listed_path.split(".", maxsplit=1)[0].split("_")
    if beside.exists() or len(parts) != 4:
        return beside
    nested = folder.joinpath(*("_".join(parts[: depth + 1]) for depth in range(3)), listed_path)
    return nested if nested.exists() else beside
