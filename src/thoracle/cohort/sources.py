"""Describe the volumes that a layout lists in a folder, with all that tables say of them, before any is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final, Literal

from thoracle.cohort.demographics import NO_FACTS, Demographics
from thoracle.cohort.reports import Report
from thoracle.cohort.technique import StatedContrast
from thoracle.errors import ScanUnreadable, ThoracleError
from thoracle.files.folder_tree import list_tree
from thoracle.types import ABNORMALITIES

Split = Literal["train", "dev", "valid", "test"]
#: 0 or 1 for each of `ABNORMALITIES`, None where nobody says.
Labels = tuple[int | None, ...]

#: The file that makes a folder a cohort's: archives are read without the cohorts that lie in them.
COHORT_SETTINGS: Final = "cohort.json"
SPLITS: Final[tuple[Split, ...]] = ("train", "dev", "valid", "test")
NO_REPORT: Final = Report()
UNLABELLED: Final[Labels] = (None,) * len(ABNORMALITIES)


@dataclass(frozen=True, kw_only=True)
class VolumeSource:
    """Describe one volume to prepare.

    Attributes:
        volume: its name, unique in the cohort.
        scan: the examination it was reconstructed from.
        patient: whose examination; splits are by it.
        path: what `read` is given.
        files: all its files, for `read` and to tell whether they changed; `path` alone if empty.
        split: where the archive itself puts the patient; None where it leaves that open.
        metadata: of its row of CT-RATE's metadata table, the fields that decide how it is read, and no other.
        series: SeriesInstanceUID, where `path` holds several.
        kernel: convolution kernel, "" where nobody says.
        slice_spacing_mm: from slice to slice, None where nobody says.
        report: of the scan.
        stated_contrast: what the report's technique says of contrast agent; None where it is silent.
        labels: of the scan.
        accession: the number people call the scan by; "" where it has no other than `scan`.
        facts: of patient and scanner.
        study_time: full date and time of day of the scan, see `visits`; orders a patient's scans, and is never written.
        derived: what its images were computed to be; "" for a reconstruction.
        error: why it must not be read.
    """

    volume: str
    scan: str
    patient: str
    path: Path
    files: tuple[Path, ...] = ()
    split: Split | None = None
    metadata: Mapping[str, str] | None = None
    series: str | None = None
    kernel: str = ""
    slice_spacing_mm: float | None = None
    report: Report = NO_REPORT
    stated_contrast: StatedContrast | None = None
    labels: Labels = UNLABELLED
    accession: str = ""
    facts: Demographics = NO_FACTS
    study_time: tuple[str, str] = ("", "")
    derived: str = ""
    error: ThoracleError | None = None


@dataclass(frozen=True, kw_only=True)
class ArchiveListing:
    """List volumes in order of name, names that only tables hold, and notes."""

    sources: tuple[VolumeSource, ...]
    absent: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def list_volumes(root: Path, pattern: str) -> tuple[list[Path], list[VolumeSource]]:
    """List files by their place below a folder, and a refused source for each folder that cannot be listed.

    Broken links are listed as the files that they are called: reading them fails.
    """
    tree = list_tree(root, marker=COHORT_SETTINGS)
    depth = len(PurePath(pattern).parts)
    places = {path: path.relative_to(root) for path in (*tree.files, *(entry.path for entry in tree.unlisted if entry.kind == "file"))}
    paths = sorted(path for path, place in places.items() if len(place.parts) == depth and place.match(pattern))
    refused = [unlisted_folder(entry.path, entry.reason, root=root.parent) for entry in tree.unlisted if entry.kind == "folder"]
    return paths, refused


def unlisted_folder(path: Path, reason: str, *, root: Path) -> VolumeSource:
    """Describe a folder that cannot be listed as a refused source, named by its place below another folder."""
    name = path.relative_to(root).as_posix()
    fault = ScanUnreadable(f"the folder {reason}", hint="Mend the permissions or the disk.")
    return VolumeSource(volume=name, scan=name, patient="", path=path, error=fault)
