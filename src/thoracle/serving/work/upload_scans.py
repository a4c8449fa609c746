"""Find the scans among the files of an upload: archives unpacked, each header with the file of its voxels."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from thoracle.ct.dicom.files import open_study_files
from thoracle.ct.read import data_names
from thoracle.errors import BudgetExceeded, ScanError, SeriesAmbiguous, UnsupportedFormat
from thoracle.inference.batch.discover_scans import ScanLocation, find_scans
from thoracle.serving.uploads import NumberedFiles

_CHUNK: Final = 1 << 20


@dataclass(frozen=True, kw_only=True)
class UploadScans:
    """Hold the scans of an upload, and sentences on what of it is none."""

    locations: Sequence[ScanLocation]
    notes: tuple[str, ...]


def find_upload_scans(folder: Path, names: Mapping[Path, str], *, limit: int, check: Callable[[], None]) -> UploadScans:
    """Find the scans of an upload, as the command line finds those of a folder.

    Args:
        folder: of the upload; archives in it are replaced by what they hold.
        names: what the sender called each file, with its folder. A header's data file is looked for among those of its folder.
        limit: bytes that archives may hold together.
        check: called between files; may raise.

    Raises:
        UnsupportedFormat: no file came.
    """
    faults: list[ScanLocation] = []
    data = _pair(names)
    for archive in sorted(folder.glob("*.zip")):
        target = archive.with_suffix("")
        try:
            members = _unpack(archive, target, limit, check)
        except ScanError as error:
            faults.append(ScanLocation(name=archive.name, path=archive, fault=error))
            continue
        finally:
            archive.unlink()
        limit -= sum(path.stat().st_size for path in members)
        data |= _pair(members)
    hidden = {path: path.rename(path.with_name(f".{path.name}")) for path in set(data.values()) if isinstance(path, Path)}
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    notes: list[str] = []
    if len(files) == 1:
        scans: Sequence[ScanLocation] = [ScanLocation(name=files[0].name, path=files[0])]
    else:
        scans = find_scans([folder], notify=notes.append) if files else []
    located = [*(_with_data(scan, data.get(scan.path), hidden) for scan in scans), *faults]
    if not located:
        raise UnsupportedFormat("no file came", hint="Give a NIfTI, NRRD or MetaImage file, DICOM files, or a .zip of them.")
    return UploadScans(locations=located, notes=tuple(note for note in notes if str(folder) not in note))


def _unpack(archive: Path, target: Path, limit: int, check: Callable[[], None]) -> Mapping[Path, str]:
    """Write the members of an archive under numbers, and return what they are called; leave none where one cannot be.

    Raises:
        ScanError: it is unsafe, damaged, or holds more than may be.
    """
    files = NumberedFiles(target)
    try:
        with open_study_files(archive) as listing:
            size = sum(source.size for source in listing.sources)
            if size > limit:
                raise BudgetExceeded(f"an archive would inflate to {size:,} bytes, {limit:,} may be", hint="Send one series.")
            for source in listing.sources:
                check()
                files.begin(source.label.removeprefix(f"{archive}/"))
                with source.reading() as member:
                    while piece := member.read(_CHUNK):
                        files.write(piece)
                files.end()
    except BaseException:
        files.end()
        for path in files.names:
            path.unlink()
        raise
    return files.names


def _pair(names: Mapping[Path, str]) -> dict[Path, Path | SeriesAmbiguous]:
    """Map each header to the file of its voxels; to an error where several are called so."""
    by_name: dict[str, list[Path]] = {}
    for path, name in names.items():
        by_name.setdefault(posixpath.normpath(name), []).append(path)
    pairs: dict[Path, Path | SeriesAmbiguous] = {}
    for path, name in names.items():
        parent, file_name = posixpath.split(posixpath.normpath(name))
        try:
            addresses = [posixpath.join(parent, data_name) for data_name in data_names(path, file_name)]
        except ScanError:  # it is raised again when the scan is read
            continue
        candidates = next((by_name[address] for address in addresses if address in by_name), [])
        if len(candidates) == 1:
            pairs[path] = candidates[0]
        elif candidates:
            detail = f"{len(candidates)} files of the upload are called as the data file that its header names"
            pairs[path] = SeriesAmbiguous(detail, hint="Send each scan by itself.")
    return pairs


def _with_data(scan: ScanLocation, data: Path | SeriesAmbiguous | None, hidden: Mapping[Path, Path]) -> ScanLocation:
    """Give a header its data file."""
    if isinstance(data, Path):
        return replace(scan, files=(hidden[data],))
    return scan if data is None else replace(scan, fault=data)
