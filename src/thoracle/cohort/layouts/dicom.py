"""A tree of DICOM studies: each CT series is a volume, its study the scan, PatientID the patient, however the files lie in folders.

Reports and labels may stand in CSV tables in the tree, by `AccessionNumber` (or `AccessionNo`) or `StudyInstanceUID`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from thoracle.cohort.demographics import Demographics, facts_of
from thoracle.cohort.preparation.visits import study_time
from thoracle.cohort.sources import COHORT_SETTINGS, ArchiveListing, VolumeSource
from thoracle.cohort.tables import (
    Row,
    contrast_of,
    empty_reports,
    find_tables,
    has_labels,
    has_report,
    label_cells,
    labels_of,
    parse_positive_number,
    report_of,
    require_match,
    unique_rows,
)
from thoracle.ct.dicom.eligibility import derived_reason, examine, is_axial, is_misnamed
from thoracle.ct.dicom.files import study_file
from thoracle.ct.dicom.frames import is_multiframe
from thoracle.ct.dicom.header import Header, quiet_parser, text
from thoracle.ct.dicom.series_parts import FEWEST_AGREEING, MOST_SCOUTS
from thoracle.errors import LayoutMismatch, MetadataError, ScanError, ScanUnreadable
from thoracle.files.folder_tree import list_tree
from thoracle.files.table import UTF_8, TableRow, TextTable

_IDS: Final = ("PatientID", "StudyInstanceUID", "AccessionNumber")
_FACTS: Final = ("PatientAge", "PatientSex", "StudyDate", "StudyTime", "Manufacturer", "ManufacturerModelName")
_BY: Final = {"AccessionNumber": "accession", "AccessionNo": "accession", "StudyInstanceUID": "study"}


@dataclass(kw_only=True)
class _Series:
    """The files of one SeriesInstanceUID and what the first of them says; `moves` where slices lie at more places than one."""

    patient: str
    study: str
    accession: str
    kernel: str
    step_mm: float | None
    facts: Demographics
    study_time: tuple[str, str]
    derived: str
    axial: bool
    position: str
    slices: int = 0
    moves: bool = False
    files: list[Path] = field(default_factory=list)


@dataclass(kw_only=True)
class _Inventory:
    """What the files of a tree are: series, damaged files by series or folder, and counts of what is no part of a volume."""

    series: dict[str, _Series] = field(default_factory=dict)
    damaged: dict[str, list[tuple[Path, ScanError]]] = field(default_factory=dict)
    lost: dict[Path, list[tuple[Path, ScanError]]] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)


def find(folder: Path, *, encoding: str = UTF_8) -> ArchiveListing:
    """List the CT series of a folder tree.

    Raises:
        LayoutMismatch: there is none.
        MetadataError: a table that cannot be used.
    """
    tree = list_tree(folder, marker=COHORT_SETTINGS)
    with quiet_parser():
        inventory = _inventory(tree.files)
    for entry in tree.unlisted:
        if entry.kind == "other":
            inventory.skipped[entry.reason] += 1
        else:
            fault = ScanUnreadable(entry.reason, hint="Mend the link or the permissions.")
            inventory.lost.setdefault(entry.path if entry.kind == "folder" else entry.path.parent, []).append((entry.path, fault))
    sources = [_refused(folder, files) for files in _lost(inventory)]
    if not inventory.series and not sources:
        raise LayoutMismatch("holds no CT series in DICOM", hint="Give a tree of DICOM files, or another --layout.", source=folder)
    _set_scouts_aside(inventory)
    rows = _said(folder, encoding)
    sources = [_source(uid, member, rows) for uid, member in sorted(inventory.series.items())] + sources
    keys = {key for member in inventory.series.values() for key in (f"accession {member.accession}", f"study {member.study}")}
    expected = "they are looked up by AccessionNumber or StudyInstanceUID, as the headers have them"
    if not inventory.lost:  # the rows may be of what could not be read
        require_match(len(keys & set(rows)), rows, what="reports and labels", expected=expected)
    notes = [f"{count:,} files set aside: {what}." for what, count in sorted(inventory.skipped.items())]
    if note := _patients_note(inventory.series.values()):
        notes.append(note)
    if silent := sum(key not in keys for key in rows):
        notes.append(f"{silent:,} rows of tables belong to no study in the tree.")
    if note := empty_reports(report_of(row.cells) for key, (row, _) in rows.items() if key in keys):
        notes.append(note)
    return ArchiveListing(sources=tuple(sources), notes=tuple(notes))


def _patients_note(series: Collection[_Series]) -> str:
    """Warn where several studies have one PatientID, or all of them none."""
    patients, studies = {member.patient for member in series}, {member.study for member in series}
    if len(patients) > 1 or len(studies) < 2:
        return ""
    named = "under one PatientID" if any(patients) else "without a PatientID of their own"
    return f"Warning: all {len(studies):,} studies stand {named}, as exports that replace it leave them: splits by patient mean nothing."


def _inventory(files: Sequence[Path]) -> _Inventory:
    inventory = _Inventory()
    for path in files:
        try:
            member = examine(study_file(path), extra_keywords=_IDS + _FACTS)
        except OSError as error:
            fault = ScanUnreadable(error.strerror or "cannot be read", hint="Mend the permissions, or copy the file again.")
            inventory.lost.setdefault(path.parent, []).append((path, fault))
            continue
        if member is None:
            inventory.skipped["what is called DICOM and is none"] += is_misnamed(path.name)
        elif member.error is not None and member.series is not None:
            inventory.damaged.setdefault(member.series, []).append((path, member.error))
        elif member.error is not None:
            inventory.lost.setdefault(path.parent, []).append((path, member.error))
        elif member.header is not None:
            _add(inventory.series, member.header, path)
        else:
            inventory.skipped[member.rejection or ""] += 1
    inventory.skipped = +inventory.skipped
    return inventory


def _lost(inventory: _Inventory) -> Iterator[list[tuple[Path, ScanError]]]:
    """Give a series its damaged files, for which `read` refuses it; yield those that may be of volumes that are not listed."""
    for uid, files in sorted(inventory.damaged.items()):
        if uid in inventory.series:
            inventory.series[uid].files += (path for path, _ in files)
        else:
            yield files
    occupied = {path.parent for member in inventory.series.values() for path in member.files}
    for directory, files in sorted(inventory.lost.items()):
        unread: list[tuple[Path, ScanError]] = [(path, fault) for path, fault in files if isinstance(fault, ScanUnreadable)]
        if unread or directory not in occupied:
            yield unread or files
        if directory in occupied and len(unread) < len(files):
            inventory.skipped["damaged, of no series that can be told; `thoracle inspect` of their folder names them"] += len(files) - len(
                unread
            )


def _refused(folder: Path, files: Sequence[tuple[Path, ScanError]]) -> VolumeSource:
    """What is not of any series that is listed; named by the place of the first file."""
    path, fault = files[0]
    if len(files) > 1:
        fault = type(fault)(f"{fault.detail}; {len(files):,} files here are alike", hint=fault.hint)
    name = path.relative_to(folder).as_posix()
    return VolumeSource(volume=name, scan=name, patient="", path=path, error=fault)


def _set_scouts_aside(inventory: _Inventory) -> None:
    """Beside others, one or two images that do not lie across the body; beside a scan of their study, also what shows one or two places."""
    scans = {member.study for member in inventory.series.values() if member.slices >= FEWEST_AGREEING and member.moves}
    for uid, member in list(inventory.series.items()):
        few = member.slices <= MOST_SCOUTS
        if len(inventory.series) > 1 and few and not member.axial:
            inventory.skipped["scout"] += len(member.files)
        elif member.study in scans and (few or not member.moves):
            inventory.skipped["bolus monitor or single slice beside a scan"] += len(member.files)
        else:
            continue
        del inventory.series[uid]


def _add(series: dict[str, _Series], header: Header, path: Path) -> None:
    patient, study, uid = (text(header.dataset, keyword) for keyword in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID"))
    position = text(header.dataset, "ImagePositionPatient")
    member = series.get(uid)
    if member is None:
        facts = {keyword: text(header.dataset, keyword) for keyword in _FACTS}
        member = series[uid] = _Series(
            patient=patient,
            study=study,
            accession=text(header.dataset, "AccessionNumber"),
            kernel=header.kernel,
            step_mm=parse_positive_number(text(header.dataset, "SliceThickness")),
            facts=facts_of(facts),
            study_time=study_time(facts),
            derived=derived_reason(header) or "",
            axial=is_axial(header) is not False,
            position=position,
        )
    if (member.patient, member.study) != (patient, study):
        member.patient = ""  # files of two patients or studies under one UID: nobody's
    member.slices += header.nonnegative_int("NumberOfFrames", default=1)
    member.moves |= position != member.position or is_multiframe(header)
    member.files.append(path)


def _said(folder: Path, encoding: str) -> dict[str, tuple[TableRow, Path]]:
    """Rows of all tables of reports or labels by accession number or study."""
    listing = find_tables(folder, encoding=encoding)  # folders not listed are among those of the tree
    tables = [table for table in listing.tables if _by(table) and (has_report(table) or has_labels(table))]
    return unique_rows(
        tables, key_of=_study_key, facts_of=lambda cells: (report_of(cells), label_cells(cells)), what="reports and labels for a study"
    )


def _by(table: TextTable) -> str | None:
    return next((name for name in _BY if name in table.columns), None)


def _study_key(table: TextTable, cells: Row) -> str:
    column = _by(table)
    number = cells.get(column or "", "").strip()
    return f"{_BY[column]} {number}" if column and number else ""


def _source(uid: str, member: _Series, rows: Mapping[str, tuple[TableRow, Path]]) -> VolumeSource:
    common = Path(os.path.commonpath([path.parent for path in member.files]))
    source = VolumeSource(
        volume=uid,
        scan=member.study,
        patient=member.patient,
        path=member.files[0] if len(member.files) == 1 else common,
        files=tuple(member.files),
        series=uid,
        kernel=member.kernel,
        slice_spacing_mm=member.step_mm,
        accession=member.accession,
        facts=member.facts,
        study_time=member.study_time,
        derived=member.derived,
    )
    try:
        if not uid or not member.patient or not member.study:
            detail = "has no SeriesInstanceUID, StudyInstanceUID or PatientID, or files of two patients under one"
            raise MetadataError(detail, hint="Mend the headers; without patients no split can be trusted.")
        match = rows.get(f"study {member.study}") or (rows.get(f"accession {member.accession}") if member.accession else None)
        if match is None:
            return source
        row, table = match[0].cells, match[1]
        return replace(source, report=report_of(row), stated_contrast=contrast_of(row), labels=labels_of(row, source=table))
    except MetadataError as error:
        return replace(source, error=error)
