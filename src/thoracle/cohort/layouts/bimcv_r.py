"""BIMCV-R: CT*/ct/sub-S…_ses-E…_run-….nii.gz, and meta/curated_ct_report_path_En.csv with the columns `Report_en` and `path`.

https://huggingface.co/datasets/cyd0806/BIMCV-R. `sub` is the patient, `ses` the scan. The archive has no split of its own. `path` is where
its authors had a volume (…/sub-S…/ses-E…/mod-rx/NAME) or its folder: only the name of the volume, or of the scan, is found again.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Final

from thoracle.cohort.sources import ArchiveListing, VolumeSource, list_volumes
from thoracle.cohort.tables import (
    Row,
    contrast_of,
    empty_reports,
    find_tables,
    label_cells,
    labels_of,
    report_of,
    require_match,
    unique_rows,
)
from thoracle.ct.metadata import volume_key
from thoracle.errors import LayoutMismatch, MetadataError
from thoracle.files.listed_names import normalized_name
from thoracle.files.table import UTF_8, TextTable

_NAME: Final = re.compile(r"(sub-[A-Za-z0-9]+)_(ses-[A-Za-z0-9]+).*\.nii\.gz")
_FOLDER: Final = re.compile(r"(sub-[A-Za-z0-9]+)/(ses-[A-Za-z0-9]+)")
_TABLE: Final = "curated_ct_report_path_En.csv"
_PATH: Final = "path"


def find(folder: Path, *, encoding: str = UTF_8) -> ArchiveListing:
    """List the volumes of a BIMCV-R folder.

    Raises:
        LayoutMismatch: no volume where BIMCV-R has them.
        MetadataError: the table is absent, several are there, or it cannot be used.
    """
    paths, refused = list_volumes(folder, "CT*/ct/*.nii.gz")
    files = {path.name: path for path in paths}
    if not files and not refused:
        raise LayoutMismatch("holds no CT*/ct/*.nii.gz", hint="Give BIMCV-R's folder, or another --layout.", source=folder)
    table = _table(folder, encoding)
    rows = unique_rows(
        [table],
        key_of=lambda _, cells: _key(cells[_PATH]),
        facts_of=lambda cells: (report_of(cells), label_cells(cells)),
        what="reports for a volume",
    )
    keys = {name: next((key for key in (name, _scan(name)) if key in rows), None) for name in files}
    matched = {key: rows[key][0].cells for key in keys.values() if key is not None}
    example = f"a volume here is called {next(iter(files))}, one in the table {next(iter(rows), '')}"
    require_match(len(matched), rows, what="reports", expected=example)
    sources = tuple(_source(path, matched.get(keys[name] or ""), table) for name, path in sorted(files.items()))
    notes = []
    if note := empty_reports(map(report_of, matched.values())):
        notes.append(note)
    if twice := len(paths) - len(files):
        notes.append(f"{twice:,} volumes lie in several folders under one name; the last is taken.")
    if without := sum(key is None for key in keys.values()):
        notes.append(f"{without:,} of {len(files):,} volumes have no row in the table of reports.")
    return ArchiveListing(sources=(*sources, *refused), absent=tuple(sorted(set(rows) - set(keys.values()))), notes=tuple(notes))


def _table(folder: Path, encoding: str) -> TextTable:
    listing = find_tables(folder, beside=("masks", "truth"), encoding=encoding)  # folders not listed are among those of `list_volumes`
    tables = [table for table in listing.tables if {"Report_en", _PATH} <= set(table.columns)]
    if len(tables) > 1:  # the archive has tables of its parts beside that of the whole
        tables = [table for table in tables if table.path.name == _TABLE]
    if len(tables) != 1:
        detail = f"expected one table with the columns Report_en and {_PATH}, found {len(tables)}"
        raise MetadataError(detail, hint=f"Put meta/{_TABLE} there, and no copy of it.", source=folder)
    return tables[0]


def _key(path: str) -> str:
    """The volume that a path of the table names, or the scan."""
    path = normalized_name(path)
    match, key = _FOLDER.search(path), volume_key(path)
    is_volume = path.endswith(".nii.gz") or _NAME.fullmatch(f"{key}.nii.gz")
    return f"{key}.nii.gz" if key and (is_volume or not match) else "_".join(match.groups()) if match else ""


def _scan(name: str) -> str:
    """sub-…_ses-…; "" where a file is named otherwise."""
    match = _NAME.fullmatch(name)
    return "_".join(match.groups()) if match else ""


def _source(path: Path, row: Row | None, table: TextTable) -> VolumeSource:
    scan = _scan(path.name)
    source = VolumeSource(volume=path.name, scan=scan, patient=scan.partition("_")[0], path=path)
    try:
        if not scan:
            raise MetadataError("the name does not tell the patient (sub-…_ses-…)", hint="Give the file its published name back.")
        if row is None:
            return source
        return replace(source, report=report_of(row), stated_contrast=contrast_of(row), labels=labels_of(row, source=table.path))
    except MetadataError as error:
        return replace(source, error=error)
