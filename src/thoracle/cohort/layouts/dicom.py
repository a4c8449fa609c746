"""A tree of DICOM studies: each CT series is a volume, its study the scan, PatientID the patient, however the files lie in folders.

Reports and labels may stand in CSV tables in the tree, by `AccessionNumber` (or `AccessionNo`) or `StudyInstanceUID`.
"""

from __future__ import annotations

import logging
import os
import struct
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import pydicom
from pydicom.errors import InvalidDicomError

from thoracle.cohort.listing import Listing, Source
from thoracle.cohort.tables import Row, find_tables, labels_of, number, report_of
from thoracle.errors import LayoutMismatch, MetadataError

_TAGS: Final = (
    *("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "AccessionNumber", "SOPClassUID"),
    *("Modality", "ImageType", "ConvolutionKernel", "SliceThickness"),
)
_BY: Final = {"AccessionNumber": "accession", "AccessionNo": "accession", "StudyInstanceUID": "study"}
_SUFFIXES: Final = (".dcm", ".dicom", ".ima")
_STARTS: Final = (b"\x02\x00", b"\x08\x00")  # a data set without preamble begins with group 0002 or 0008
#: What pydicom raises on files that are not DICOM after all; where one belongs to a series, `read` says what is wrong with it.
_FAULTS: Final = (InvalidDicomError, OSError, EOFError, ValueError, KeyError, AttributeError, TypeError, NotImplementedError, struct.error)


@dataclass(kw_only=True)
class _Series:
    """The files of one SeriesInstanceUID and what the first of them says."""

    patient: str
    study: str
    accession: str
    kernel: str
    step_mm: float | None
    files: list[Path] = field(default_factory=list)


def find(folder: Path) -> Listing:
    """The CT series in a tree.

    Raises:
        LayoutMismatch: there is none.
        MetadataError: a table that cannot be used.
    """
    series, aside = _series(folder)
    if not series:
        raise LayoutMismatch("holds no CT series in DICOM", cure="Give a tree of DICOM files, or another --layout.", source=folder)
    said = _said(folder)
    sources = tuple(_source(uid, one, said) for uid, one in sorted(series.items()))
    spoken = {key for one in series.values() for key in (("accession", one.accession), ("study", one.study))}
    notes = [f"{count:,} files set aside: {what}." for what, count in sorted(aside.items())]
    if silent := sum(key not in spoken for key in said):
        notes.append(f"{silent:,} rows of tables belong to no study in the tree.")
    return Listing(sources=sources, notes=tuple(notes))


def _series(folder: Path) -> tuple[dict[str, _Series], Counter[str]]:
    found: dict[str, _Series] = {}
    aside: Counter[str] = Counter()
    for place, below, names in os.walk(folder):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for path in (Path(place, name) for name in sorted(names) if not name.startswith(".") and name.upper() != "DICOMDIR"):
            header = _header(path)
            if header is None:
                continue
            uid, other = header["SeriesInstanceUID"], _other(header)
            if other:
                aside[other] += 1
                continue
            one = found.setdefault(
                uid,
                _Series(
                    patient=header["PatientID"],
                    study=header["StudyInstanceUID"],
                    accession=header["AccessionNumber"],
                    kernel=header["ConvolutionKernel"],
                    step_mm=number(header["SliceThickness"]),
                ),
            )
            if (one.patient, one.study) != (header["PatientID"], header["StudyInstanceUID"]):
                one.patient = ""  # files of two patients under one UID: nobody's
            one.files.append(path)
    return found, aside


def _other(header: Mapping[str, str]) -> str:
    """Why a file is no part of a CT volume; "" where it is one."""
    if header["Modality"] != "CT":
        return f"{header['Modality'][:16] or 'no modality'}"
    return "localizer" if "LOCALIZER" in header["ImageType"].upper() else ""


def _header(path: Path) -> dict[str, str] | None:
    try:
        with path.open("rb") as file:
            head = file.read(132)
        if not (path.name.lower().endswith(_SUFFIXES) or head[128:] == b"DICM" or head.startswith(_STARTS)) or path.is_symlink():
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they repeat values, which may name a patient
            dataset: Any = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=list(_TAGS))
            return {tag: _text(dataset.get(tag)) for tag in _TAGS} if "SOPClassUID" in dataset else None
    except _FAULTS:
        logging.getLogger(__name__).debug("a file was not read as DICOM")
        return None


def _text(value: Any) -> str:
    """One line; the values of a list one after the other."""
    if value is None:
        return ""
    return str(value).strip() if isinstance(value, str) or not hasattr(value, "__iter__") else "\\".join(map(str, value))


def _said(folder: Path) -> dict[tuple[str, str], tuple[Row, Path]]:
    """Rows of all tables by accession number or study."""
    said: dict[tuple[str, str], tuple[Row, Path]] = {}
    for table in find_tables(folder):
        column = next((name for name in _BY if name in table.columns), None)
        for row in table.rows() if column is not None else ():
            assert column is not None, "there are no rows without it"
            key = (_BY[column], row[column].strip())
            if key in said and dict(said[key][0]) != row:
                raise MetadataError(f"two rows have one {column}", cure="Leave one of them.", source=table.path)
            said[key] = (row, table.path)
    return said


def _source(uid: str, one: _Series, said: Mapping[tuple[str, str], tuple[Row, Path]]) -> Source:
    common = Path(os.path.commonpath([path.parent for path in one.files]))
    source = Source(
        volume=uid,
        scan=one.study,
        patient=one.patient,
        path=one.files[0] if len(one.files) == 1 else common,
        files=tuple(one.files),
        series=uid,
        kernel=one.kernel,
        step_mm=one.step_mm,
    )
    try:
        if not uid or not one.patient or not one.study:
            fact = "has no SeriesInstanceUID, StudyInstanceUID or PatientID, or files of two patients under one"
            raise MetadataError(fact, cure="Mend the headers; without patients no split can be trusted.")
        found = said.get(("study", one.study)) or (said.get(("accession", one.accession)) if one.accession else None)
        return source if found is None else replace(source, report=report_of(found[0]), labels=labels_of(found[0], source=found[1]))
    except MetadataError as error:
        return replace(source, fault=error)
