"""A tree of DICOM studies: each CT series is a volume, its study the scan, PatientID the patient, however the files lie in folders.

Reports and labels may stand in CSV tables in the tree, by `AccessionNumber` (or `AccessionNo`) or `StudyInstanceUID`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from thoracle.cohort.demographics import Demographics, facts_of
from thoracle.cohort.sources import ArchiveListing, VolumeSource
from thoracle.cohort.tables import (
    Row,
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
from thoracle.ct.dicom.eligibility import rejection_reason
from thoracle.ct.dicom.files import study_file
from thoracle.ct.dicom.header import Header, read_header, text
from thoracle.errors import LayoutMismatch, MetadataError, ScanError, ScanUnreadable, ThoracleError
from thoracle.files.table import UTF_8, TableRow, TextTable

_IDS: Final = ("PatientID", "StudyInstanceUID", "AccessionNumber")
_FACTS: Final = ("PatientAge", "PatientSex", "StudyDate", "Manufacturer", "ManufacturerModelName")
_BY: Final = {"AccessionNumber": "accession", "AccessionNo": "accession", "StudyInstanceUID": "study"}


@dataclass(kw_only=True)
class _Series:
    """The files of one SeriesInstanceUID and what the first of them says."""

    patient: str
    study: str
    accession: str
    kernel: str
    step_mm: float | None
    facts: Demographics
    files: list[Path] = field(default_factory=list)


def find(folder: Path, *, encoding: str = UTF_8) -> ArchiveListing:
    """List the CT series of a folder tree.

    Raises:
        LayoutMismatch: there is none.
        MetadataError: a table that cannot be used.
    """
    series, damaged, skipped = _series(folder)
    if not series and not damaged:
        raise LayoutMismatch("holds no CT series in DICOM", hint="Give a tree of DICOM files, or another --layout.", source=folder)
    rows = _said(folder, encoding)
    sources = [_source(uid, member, rows) for uid, member in sorted(series.items())]
    sources += [_refused(folder, path, fault) for path, fault in damaged]
    keys = {key for member in series.values() for key in (f"accession {member.accession}", f"study {member.study}")}
    expected = "they are looked up by AccessionNumber or StudyInstanceUID, as the headers have them"
    require_match(len(keys & set(rows)), rows, what="reports and labels", expected=expected)
    notes = [f"{count:,} files set aside: {what}." for what, count in sorted(skipped.items())]
    if silent := sum(key not in keys for key in rows):
        notes.append(f"{silent:,} rows of tables belong to no study in the tree.")
    if note := empty_reports(report_of(row.cells) for key, (row, _) in rows.items() if key in keys):
        notes.append(note)
    return ArchiveListing(sources=tuple(sources), notes=tuple(notes))


def _series(folder: Path) -> tuple[dict[str, _Series], list[tuple[Path, ThoracleError]], Counter[str]]:
    """Series, the first damaged file of each folder without a series, and how many other files are no part of a volume, and why."""
    series: dict[str, _Series] = {}
    damaged: dict[Path, tuple[Path, ThoracleError]] = {}
    skipped: Counter[str] = Counter()
    for directory, below, names in os.walk(folder):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for path in (Path(directory, name) for name in sorted(names) if not name.startswith(".")):
            try:
                header = _read(path) if path.is_file() and not path.is_symlink() else None
                reason = rejection_reason(header) if header is not None else None
            except ScanError as error:
                damaged.setdefault(path.parent, (path, error))
                continue
            except OSError as error:
                fault = ScanUnreadable(error.strerror or "cannot be read", hint="Mend the permissions, or copy the file again.")
                damaged.setdefault(path.parent, (path, fault))
                continue
            if reason is not None:
                skipped[reason] += 1
            elif header is not None:
                _add(series, header, path)
    occupied = {path.parent for member in series.values() for path in member.files}
    # Among the files of a series a damaged one is found by `read`, which refuses the series.
    return series, [damage for directory, damage in damaged.items() if directory not in occupied], skipped


def _refused(folder: Path, path: Path, fault: ThoracleError) -> VolumeSource:
    """What cannot be told to be of any series; named by its place."""
    name = path.relative_to(folder).as_posix()
    return VolumeSource(volume=name, scan=name, patient="", path=path, error=fault)


def _add(series: dict[str, _Series], header: Header, path: Path) -> None:
    patient, study, uid = (text(header.dataset, keyword) for keyword in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID"))
    member = series.setdefault(
        uid,
        _Series(
            patient=patient,
            study=study,
            accession=text(header.dataset, "AccessionNumber"),
            kernel=header.kernel,
            step_mm=parse_positive_number(text(header.dataset, "SliceThickness")),
            facts=facts_of({keyword: text(header.dataset, keyword) for keyword in _FACTS}),
        ),
    )
    if (member.patient, member.study) != (patient, study):
        member.patient = ""  # files of two patients or studies under one UID: nobody's
    member.files.append(path)


def _read(path: Path) -> Header | None:
    """The header of a regular file; None where it is not DICOM.

    Raises:
        ScanError: damaged, or too large.
        OSError: not readable.
    """
    return read_header(study_file(path), also=_IDS + _FACTS)


def _said(folder: Path, encoding: str) -> dict[str, tuple[TableRow, Path]]:
    """Rows of all tables of reports or labels by accession number or study."""
    tables = [table for table in find_tables(folder, encoding=encoding) if _by(table) and (has_report(table) or has_labels(table))]
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
    )
    try:
        if not uid or not member.patient or not member.study:
            detail = "has no SeriesInstanceUID, StudyInstanceUID or PatientID, or files of two patients under one"
            raise MetadataError(detail, hint="Mend the headers; without patients no split can be trusted.")
        match = rows.get(f"study {member.study}") or (rows.get(f"accession {member.accession}") if member.accession else None)
        return (
            source
            if match is None
            else replace(source, report=report_of(match[0].cells), labels=labels_of(match[0].cells, source=match[1]))
        )
    except MetadataError as error:
        return replace(source, error=error)
