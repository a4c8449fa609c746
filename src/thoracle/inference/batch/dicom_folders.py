"""Tell which series of a tree of DICOM files are scans, and which only go along with scans, however the files lie in folders."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

from thoracle.ct.dicom.eligibility import StudyObject, derived_reason, examine, is_axial
from thoracle.ct.dicom.files import study_file
from thoracle.ct.dicom.header import Header, quiet_parser, text
from thoracle.ct.dicom.series_parts import FEWEST_AGREEING, MOST_SCOUTS
from thoracle.ct.formats import DICOM_SUFFIXES, SCAN_SUFFIXES
from thoracle.errors import ScanError, ScanUnreadable, SeriesAmbiguous
from thoracle.files.folder_tree import FolderTree

_DIGITS: Final = 12  # a hundred thousand series share none


@dataclass(frozen=True, kw_only=True)
class SeriesLocation:
    """Locate a series: its folder, its files where others lie beside it, its name below the folder ("" for the folder's), or its fault."""

    folder: Path
    files: tuple[Path, ...] = ()
    name: str = ""
    fault: ScanError | None = None


@dataclass(kw_only=True)
class SeriesFiles:
    """Hold the files of a series by folder, and what its slices show."""

    uid: str
    study: str = ""
    derived: str = ""
    slices: int = 0
    is_axial: bool = True
    is_damaged: bool = False
    positions: set[str] = field(default_factory=set)
    files: dict[Path, list[Path]] = field(default_factory=dict)

    @property
    def is_volume(self) -> bool:
        """Tell whether there are more slices than scouts have, at more than one place."""
        return self.slices > MOST_SCOUTS and len(self.positions) > 1

    def add(self, header: Header) -> None:
        """Look at a file of slices."""
        if not self.slices:
            self.study, self.derived = text(header.dataset, "StudyInstanceUID"), derived_reason(header) or ""
        frames = header.nonnegative_int("NumberOfFrames", default=1)
        self.slices += frames
        self.is_axial &= is_axial(header) is not False
        self.positions |= {
            text(header.dataset, "ImagePositionPatient"),
            *map(str, range(min(frames, 2) if frames > 1 else 0)),
        }


@dataclass(kw_only=True)
class DicomTree:
    """Hold the series of a tree by UID, by folder where they have none; and what is of no series, by folder.

    Attributes:
        series: slices of a CT, also damaged ones whose UID can be read.
        rejections: why series hold none.
        lost: damaged files of no series that can be told.
        missing: folders of links that end nowhere and are called DICOM.
    """

    series: dict[str, SeriesFiles] = field(default_factory=dict)
    rejections: dict[str, str] = field(default_factory=dict)
    lost: dict[Path, list[Path]] = field(default_factory=dict)
    missing: set[Path] = field(default_factory=set)

    def add(self, path: Path, member: StudyObject) -> None:
        """Put a file where it belongs."""
        uid = member.series or str(path.parent)
        if member.rejection is not None:
            self.rejections[uid] = member.rejection
        elif member.header is None and member.series is None:
            self.lost.setdefault(path.parent, []).append(path)
        else:
            series = self.series.setdefault(uid, SeriesFiles(uid=member.series or ""))
            series.files.setdefault(path.parent, []).append(path)
            if member.header is None:
                series.is_damaged = True
            else:
                series.add(member.header)

    def __bool__(self) -> bool:
        return bool(self.series or self.rejections or self.lost or self.missing)


def look_into(tree: FolderTree, notify: Callable[[str], None]) -> tuple[list[Path], DicomTree]:
    """List scan files, and what DICOM there is; broken links count as what they are called, and others are told."""
    files: list[Path] = []
    dicom = DicomTree()
    strange: dict[str, list[str]] = {}
    with quiet_parser():
        for path in tree.files:
            if path.name.lower().endswith(SCAN_SUFFIXES):
                files.append(path)
            elif path.name.upper() != "DICOMDIR":
                _look_at(path, dicom, strange)
    for entry in tree.unlisted:
        name = entry.path.name.lower()
        if entry.kind == "file" and name.endswith(SCAN_SUFFIXES):
            files.append(entry.path)
        elif entry.kind == "file" and name.endswith(DICOM_SUFFIXES):
            dicom.missing.add(entry.path.parent)
        if entry.kind != "folder" and entry.path not in files:
            strange.setdefault(entry.reason, []).append(str(entry.path))
    for reason, paths in strange.items():
        notify(f"{reason}: {', '.join(paths)}.")
    return files, dicom


def _look_at(path: Path, dicom: DicomTree, strange: dict[str, list[str]]) -> None:
    """Examine a file. What cannot be opened is DICOM by name, else strange."""
    try:
        member = examine(study_file(path), extra_keywords=("StudyInstanceUID",))
    except OSError as error:
        strange.setdefault(error.strerror or "cannot be read", []).append(str(path))
        return
    if member is None:
        return
    if isinstance(member.error, ScanUnreadable) and not path.name.lower().endswith(DICOM_SUFFIXES):
        strange.setdefault(member.error.detail, []).append(str(path))
    else:
        dicom.add(path, member)


def set_companions_aside(dicom: DicomTree, *, beside: bool) -> tuple[dict[str, SeriesFiles], Counter[str]]:
    """List the series that are scans, and count what the others are.

    Set aside is what holds no slice of a CT; beside other scans, one or two images that do not lie across the body; beside a scan of its
    study, also what shows one or two slices, or one place, and images that were computed from others.
    """
    volumes = [series for series in dicom.series.values() if series.is_volume and not series.derived]
    sources = {series.study for series in volumes}
    studies = {series.study for series in volumes if sum(map(len, series.files.values())) >= FEWEST_AGREEING}
    scans: dict[str, SeriesFiles] = {}
    companions = Counter(reason for uid, reason in dicom.rejections.items() if uid not in dicom.series)
    for uid, series in dicom.series.items():
        if series.is_damaged:
            scans[uid] = series
        elif series.is_volume and series.derived and series.study in sources:
            companions[series.derived] += 1
        elif series.is_volume:
            scans[uid] = series
        elif (beside or volumes) and not (series.is_axial or series.slices > MOST_SCOUTS):
            companions["scout"] += 1
        elif series.study in studies:
            companions["bolus monitor or single slice beside a scan"] += 1
        else:
            scans[uid] = series
    return scans, companions


def series_locations(dicom: DicomTree, scans: Mapping[str, SeriesFiles]) -> Iterator[SeriesLocation]:
    """Locate each scan, and each folder of damaged files that may be of one.

    A series that lies in several folders is in the one that holds them and no folder without it; where there is none such, each of its
    folders fails. Beside a series, damaged files that may be of it count as its own.
    """
    taken = {folder for series in scans.values() for folder in series.files}
    occupied = Counter(place for folder in taken for place in _places(folder))
    shared = Counter(place for series in dicom.series.values() for place in {place for folder in series.files for place in _places(folder)})
    holders: dict[str, Path] = {}
    for uid, series in scans.items():
        common = Path(os.path.commonpath(series.files))
        if len(series.files) in (1, occupied[common]):
            holders[uid] = common
    whole = {folder for folder in holders.values() if shared[folder] == 1}
    # Below a folder that is read whole, damaged files are read with it.
    damaged = sorted(folder for folder in {*dicom.lost, *dicom.missing} - taken if whole.isdisjoint(_places(folder)))
    parted = Counter(folder for uid, series in scans.items() if uid not in holders for folder in series.files)
    tenants = Counter(holders.values()) + parted + Counter(damaged)
    for uid, series in scans.items():
        digest = sha256(series.uid.encode()).hexdigest()[:_DIGITS]
        folders = [holders[uid]] if uid in holders else sorted(series.files)
        files = [path for folder, paths in series.files.items() for path in (*paths, *dicom.lost.get(folder, ()))]
        for folder in folders:
            yield SeriesLocation(
                folder=folder,
                files=() if folder in whole else tuple(sorted(files)),
                name=digest if tenants[folder] > 1 else "",
                fault=None if uid in holders else _parted(len(folders)),
            )
    for folder in damaged:
        fault = None if folder in dicom.lost else ScanUnreadable("its files are links that end nowhere", hint="Put the files there.")
        yield SeriesLocation(folder=folder, files=tuple(dicom.lost.get(folder, ())), fault=fault)


def _places(folder: Path) -> tuple[Path, ...]:
    return (folder, *folder.parents)


def _parted(count: int) -> ScanError:
    return SeriesAmbiguous(
        f"{count} folders beside other series carry this one's SeriesInstanceUID: parts of it, or copies",
        hint="Put its files into one folder; or, if each folder is whole, name the folders one by one.",
    )
