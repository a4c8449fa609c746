"""Tell which folders of a tree hold a scan in DICOM, which a part of one, and which only what goes along with scans."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from thoracle.ct.dicom.eligibility import examine, is_axial
from thoracle.ct.dicom.files import study_file
from thoracle.ct.dicom.header import quiet_parser, text
from thoracle.ct.dicom.series_parts import FEWEST_AGREEING, MOST_SCOUTS
from thoracle.ct.formats import DICOM_SUFFIXES, SCAN_SUFFIXES
from thoracle.errors import ScanError, ScanUnreadable, SeriesAmbiguous
from thoracle.files.folder_tree import FolderTree


@dataclass(kw_only=True)
class SeriesGlimpse:
    """Hold what the first slices of a series show, and how many files lie in its folders."""

    study: str
    files: int = 0
    slices: int = 0
    axial: bool = True
    positions: set[str] = field(default_factory=set)

    @property
    def is_volume(self) -> bool:
        """Tell whether there are more slices than scouts have, at more than one place."""
        return self.slices > MOST_SCOUTS and len(self.positions) > 1


@dataclass(kw_only=True)
class DicomFolder:
    """Hold what a folder's DICOM files are, as far as tells whether it is a scan."""

    files: int
    series: dict[str, SeriesGlimpse] = field(default_factory=dict)
    rejections: Counter[str] = field(default_factory=Counter)
    damaged: list[str | None] = field(default_factory=list)

    @property
    def uid(self) -> str | None:
        """Return the series of the first slice, or of the first damaged file that tells."""
        return next(filter(None, (*self.series, *self.damaged)), None)


def look_into(tree: FolderTree, notify: Callable[[str], None]) -> tuple[list[Path], dict[Path, DicomFolder]]:
    """List scan files, and folders that hold DICOM; broken links count as what they are called, and others are told."""
    files: list[Path] = []
    others: dict[Path, list[Path]] = {}
    for path in tree.files:
        if path.name.lower().endswith(SCAN_SUFFIXES):
            files.append(path)
        elif path.name.upper() != "DICOMDIR":
            others.setdefault(path.parent, []).append(path)
    strange: dict[str, list[str]] = {}
    with quiet_parser():
        folders = {folder: dicom for folder, paths in others.items() if (dicom := _dicom_folder(paths, strange)) is not None}
    for entry in tree.unlisted:
        name = entry.path.name.lower()
        if entry.kind == "file" and name.endswith(SCAN_SUFFIXES):
            files.append(entry.path)
        elif entry.kind == "file" and name.endswith(DICOM_SUFFIXES):
            folders.setdefault(entry.path.parent, DicomFolder(files=0)).damaged.append(None)
        elif entry.kind != "folder":
            strange.setdefault(entry.reason, []).append(str(entry.path))
    for reason, paths in strange.items():
        notify(f"{reason}: {', '.join(paths)}.")
    return files, folders


def _dicom_folder(paths: Sequence[Path], strange: dict[str, list[str]]) -> DicomFolder | None:
    """Examine files until a volume is recognised; None where none is DICOM. What cannot be opened is DICOM by name, else strange."""
    folder = DicomFolder(files=len(paths))
    for path in paths:
        try:
            member = examine(study_file(path), extra_keywords=("StudyInstanceUID",))
        except OSError as error:
            strange.setdefault(error.strerror or "cannot be read", []).append(str(path))
            continue
        if member is None:
            continue
        if isinstance(member.error, ScanUnreadable) and not path.name.lower().endswith(DICOM_SUFFIXES):
            strange.setdefault(member.error.detail, []).append(str(path))
        elif member.error is not None:
            folder.damaged.append(member.series)
        elif member.header is None:
            folder.rejections[member.rejection or ""] += 1
        else:
            study = text(member.header.dataset, "StudyInstanceUID")
            glimpse = folder.series.setdefault(member.series or "", SeriesGlimpse(study=study))
            frames = member.header.nonnegative_int("NumberOfFrames", default=1)
            glimpse.slices += frames
            glimpse.axial &= is_axial(member.header) is not False
            glimpse.positions |= {
                text(member.header.dataset, "ImagePositionPatient"),
                *map(str, range(min(frames, 2) if frames > 1 else 0)),
            }
            if glimpse.is_volume:
                break
    return folder if folder.series or folder.rejections or folder.damaged else None


def set_companions_aside(folders: Mapping[Path, DicomFolder], *, beside: bool) -> tuple[dict[Path, str | None], Counter[str]]:
    """List folders that are scans or parts of them, with the series of the first slice, and count what the others are.

    Set aside is what holds no slice of a CT; beside other scans, one or two images that do not lie across the body; beside a scan of its
    study, also what shows one or two slices, or one place.
    """
    whole: dict[str, SeriesGlimpse] = {}  # a series may be cut into folders
    for path, folder in folders.items():
        for uid, glimpse in folder.series.items():
            series = whole.setdefault(uid or str(path), SeriesGlimpse(study=glimpse.study))
            series.files += folder.files
            series.slices += glimpse.slices
            series.axial &= glimpse.axial
            series.positions |= glimpse.positions
    volumes = [series for series in whole.values() if series.is_volume]
    studies = {series.study for series in volumes if series.files >= FEWEST_AGREEING}
    scans: dict[Path, str | None] = {}
    companions: Counter[str] = Counter()
    for path, folder in folders.items():
        shown = [whole[uid or str(path)] for uid in folder.series]
        if folder.damaged or any(series.is_volume for series in shown):
            scans[path] = folder.uid
        elif not shown:
            companions[folder.rejections.most_common(1)[0][0]] += 1
        elif (beside or volumes) and not any(series.axial or series.slices > MOST_SCOUTS for series in shown):
            companions["scout"] += 1
        elif all(series.study in studies for series in shown):
            companions["bolus monitor or single slice beside a scan"] += 1
        else:
            scans[path] = folder.uid
    return scans, companions


def scan_folders(series: dict[Path, str | None]) -> Iterator[tuple[Path, ScanError | None]]:
    """Join folders that hold parts of one series; where nothing holds them and nothing else, each fails."""
    together: dict[object, list[Path]] = {}
    for folder, uid in series.items():
        together.setdefault(uid or folder, []).append(folder)
    scans: dict[Path, ScanError | None] = {}
    for folders in together.values():
        common = Path(os.path.commonpath(folders))
        if sum(folder.is_relative_to(common) for folder in series) == len(folders):
            scans[common] = None
        else:
            scans |= dict.fromkeys(folders, _parted(len(folders)))
    # A folder below another that is read is read with it.
    return ((path, fault) for path, fault in sorted(scans.items()) if not any(parent in scans for parent in path.parents))


def _parted(count: int) -> ScanError:
    return SeriesAmbiguous(
        f"{count} folders beside other series carry this one's SeriesInstanceUID: parts of it, or copies",
        hint="Put its files into one folder; or, if each folder is whole, name the folders one by one.",
    )
