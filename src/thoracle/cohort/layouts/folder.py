"""A folder of scans with one table that says which file is whose: columns `path` (or `VolumeName`) and `patient`.

Columns that may be there: `scan`, `accession`, `split` (train, dev, valid, test), a report (`Findings_EN` and `Impressions_EN`, `findings`
and `impression`, or `report`), the 18 abnormalities (0 or 1), and CT-RATE's metadata (`XYSpacing`, `PatientAge`, `StudyDate`, …).
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Final

from thoracle.cohort.demographics import facts_of
from thoracle.cohort.preparation.visits import study_time
from thoracle.cohort.sources import SPLITS, ArchiveListing, VolumeSource
from thoracle.cohort.tables import (
    VOLUME_NAME,
    Row,
    contrast_of,
    empty_reports,
    find_tables,
    has_report,
    labels_of,
    parse_positive_number,
    report_of,
)
from thoracle.ct.metadata import reading_fields
from thoracle.errors import LayoutMismatch, MetadataError, ScanUnreadable
from thoracle.files.listed_names import locate, normalized_name
from thoracle.files.table import UTF_8, TextTable

_PATIENT: Final = "patient"


def find(folder: Path, *, encoding: str = UTF_8) -> ArchiveListing:
    """List the scans of the folder's table.

    Raises:
        LayoutMismatch: there is no such table, or several.
        MetadataError: a row that makes no sense.
    """
    listing = find_tables(folder, encoding=encoding)
    tables = [table for table in listing.tables if _PATIENT in table.columns and _place(table) is not None]
    if len(tables) != 1:
        detail = f"expected one table with the columns path and {_PATIENT}, found {len(tables)}"
        raise LayoutMismatch(detail, hint="Write one; without patients no split can be trusted.", source=folder)
    table = tables[0]
    sources: dict[str, tuple[VolumeSource, int]] = {}
    for row in table.rows():
        source = _source(row.cells, table, folder)
        before, line = sources.setdefault(source.volume, (source, row.line))
        if before is not source and replace(before, error=None) != replace(source, error=None):
            detail = f"lists one file twice, in lines {line} and {row.line}, and says unlike things of it"
            raise MetadataError(detail, hint="Leave one of the rows.", source=table.path)
    if sources and not any(source.path.exists() for source, _ in sources.values()):
        detail = f"none of the {len(sources):,} files that its column {_place(table)} names is in the folder"
        hint = "Write their paths as they are below the table's own folder."
        raise MetadataError(detail, hint=hint, source=table.path)
    note = empty_reports(source.report for source, _ in sources.values()) if has_report(table) else ""
    listed = (sources[name][0] for name in sorted(sources))
    return ArchiveListing(sources=(*listed, *listing.unlisted), notes=(note,) if note else ())


def _place(table: TextTable) -> str | None:
    return next((column for column in ("path", VOLUME_NAME) if column in table.columns), None)


def _source(row: Row, table: TextTable, folder: Path) -> VolumeSource:
    column = _place(table)
    assert column is not None, "the table was chosen by it"
    volume, patient, split = normalized_name(row[column]), row[_PATIENT].strip(), row.get("split", "").strip()
    path = locate(table.path.parent, volume)
    source = VolumeSource(
        volume=volume,
        scan=row.get("scan", "").strip() or volume,
        patient=patient,
        path=path,
        report=report_of(row),
        stated_contrast=contrast_of(row),
        kernel=row.get("ConvolutionKernel", "").strip(),
        slice_spacing_mm=parse_positive_number(row.get("ZSpacing", "")),
        accession=row.get("accession", "").strip(),
        facts=facts_of(row),
        study_time=study_time(row),
        metadata=reading_fields(row),
    )
    try:
        if not volume or not Path(os.path.normpath(path.absolute())).is_relative_to(os.path.normpath(folder.absolute())):
            raise MetadataError("the path leaves the folder", hint="List files below the folder, by relative paths.", source=table.path)
        if not path.exists():
            raise ScanUnreadable("is in the table and not in the folder", hint="Put it there, or take the row away.")
        if not patient:
            raise MetadataError("a row names no patient", hint="Name one; without patients no split can be trusted.", source=table.path)
        if split and split not in SPLITS:
            raise MetadataError(f"split must be {', '.join(SPLITS)} or empty, is {split!r:.40}", hint="Correct it.", source=table.path)
        published_split = next((name for name in SPLITS if name == split), None)
        return replace(source, split=published_split, labels=labels_of(row, source=table.path))
    except (MetadataError, ScanUnreadable) as error:
        return replace(source, error=error)
