"""BIMCV-R: CT*/ct/sub-S…_ses-E…_run-….nii.gz, and meta/curated_ct_report_path_En.csv with the columns `Report_en` and `path`.

https://huggingface.co/datasets/cyd0806/BIMCV-R. `sub` is the patient, `ses` the scan. The archive has no split of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Final

from thoracle.cohort.listing import Listing, Source
from thoracle.cohort.tables import Row, Table, find_tables, labels_of, report_of
from thoracle.errors import LayoutMismatch, MetadataError

_NAME: Final = re.compile(r"(sub-[A-Za-z0-9]+)_(ses-[A-Za-z0-9]+).*\.nii\.gz")
_PATH: Final = "path"


def find(folder: Path) -> Listing:
    """The volumes of BIMCV-R in a folder.

    Raises:
        LayoutMismatch: no volume where BIMCV-R has them.
        MetadataError: the table is absent, several are there, or it cannot be used.
    """
    files = {_key(path.as_posix()): path for path in sorted(folder.glob("CT*/ct/*.nii.gz"))}
    if not files:
        raise LayoutMismatch("holds no CT*/ct/*.nii.gz", cure="Give BIMCV-R's folder, or another --layout.", source=folder)
    table = _table(folder)
    rows = {_key(row[_PATH]): row for row in table.rows()}
    sources = tuple(_source(key, path, rows, table) for key, path in files.items())
    without = sum(key not in rows for key in files)
    return Listing(
        sources=sources,
        absent=tuple(sorted(PurePosixPath(key).name for key in set(rows) - set(files))),
        notes=(f"{without:,} of {len(files):,} volumes have no row in the table of reports.",) if without else (),
    )


def _table(folder: Path) -> Table:
    found = [table for table in find_tables(folder, beside=("masks", "truth")) if {"Report_en", _PATH} <= set(table.columns)]
    if len(found) != 1:
        fact = f"expected one table with the columns Report_en and {_PATH}, found {len(found)}"
        raise MetadataError(fact, cure="Put meta/curated_ct_report_path_En.csv there, and no copy of it.", source=folder)
    return found[0]


def _key(path: str) -> str:
    """The last three names of a path: the table's begin wherever its authors had the archive."""
    return "/".join(PurePosixPath(path.strip()).parts[-3:])


def _source(key: str, path: Path, rows: Mapping[str, Row], table: Table) -> Source:
    match = _NAME.fullmatch(path.name)
    patient, session = match.groups() if match else ("", "")
    source = Source(volume=path.name, scan=f"{patient}_{session}", patient=patient, path=path)
    try:
        if match is None:
            raise MetadataError("the name does not tell the patient (sub-…_ses-…)", cure="Give the file its published name back.")
        row = rows.get(key)
        return source if row is None else replace(source, report=report_of(row), labels=labels_of(row, source=table.path))
    except MetadataError as error:
        return replace(source, fault=error)
