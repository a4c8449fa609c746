"""CT-RATE, version 1 and 2, whole or in part: SPLIT/SPLIT_P/SPLIT_P_S/SPLIT_P_S_R.nii.gz, and tables wherever they were put.

https://huggingface.co/datasets/ibrahimhamamci/CT-RATE. P is the patient, S the scan, R the reconstruction. Where a volume is there in
both versions, the second (`train_fixed`, `valid_fixed`) is taken.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from thoracle.cohort.demographics import facts_of
from thoracle.cohort.preparation.visits import study_time
from thoracle.cohort.sources import ArchiveListing, Split, VolumeSource, list_volumes
from thoracle.cohort.tables import (
    VOLUME_NAME,
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
from thoracle.ct.metadata import metadata_facts, reading_fields, volume_key
from thoracle.errors import LayoutMismatch, MetadataError
from thoracle.files.table import UTF_8, TableRow, TextTable

#: Folders with volumes; the later one of a split wins.
_FOLDERS: Final[dict[str, Split]] = {"train": "train", "valid": "valid", "train_fixed": "train", "valid_fixed": "valid"}
_NAME: Final = re.compile(r"((([A-Za-z]+_\d+)_[A-Za-z]+)_\d+)\.nii\.gz")
_NOT_TABLES: Final = (*_FOLDERS, "masks", "truth")


def find(folder: Path, *, encoding: str = UTF_8) -> ArchiveListing:
    """List the volumes of a CT-RATE folder, or of `dataset` below it.

    Raises:
        LayoutMismatch: no volume where CT-RATE has them.
        MetadataError: a table that cannot be used.
    """
    root = folder / "dataset" if any((folder / "dataset" / name).is_dir() for name in _FOLDERS) else folder
    volumes, refused, notes = _volumes(root)
    if not volumes and not refused:
        detail = "holds no train/train_1/train_1_a/train_1_a_1.nii.gz, nor the like below valid, train_fixed or valid_fixed"
        raise LayoutMismatch(detail, hint="Give CT-RATE's folder, or another --layout.", source=folder)
    listing = find_tables(folder, beside=_NOT_TABLES, encoding=encoding)
    tables = [table for table in listing.tables if VOLUME_NAME in table.columns]
    reports = _rows(filter(has_report, tables), "reports", lambda cells: (report_of(cells), contrast_of(cells)))
    labels = _rows(filter(has_labels, tables), "labels", label_cells)
    metadata = _rows((table for table in tables if "XYSpacing" in table.columns), "metadata", _metadata_facts)
    columns_of: list[tuple[str, dict[str, tuple[TableRow, Path]]]] = [("reports", reports), ("labels", labels), ("metadata", metadata)]
    for what, rows in columns_of:
        without = sum(name not in rows for name in volumes)
        example = f"a volume here is called {next(iter(volumes))}, one in the table {next(iter(rows), '')}"
        require_match(len(volumes) - without, rows, what=what, expected=example)
        if without:
            notes.append(f"{without:,} of {len(volumes):,} volumes have no row in a table of {what}.")
    if note := empty_reports(report_of(reports[name][0].cells) for name in volumes if name in reports):
        notes.append(note)
    listed = (_with_rows(source, reports.get(name), labels.get(name), metadata.get(name)) for name, source in sorted(volumes.items()))
    sources = (*listed, *refused, *listing.unlisted)
    absent = {*reports, *labels, *metadata} - set(volumes)
    return ArchiveListing(sources=sources, absent=tuple(sorted(absent)), notes=tuple(notes))


def _volumes(root: Path) -> tuple[dict[str, VolumeSource], list[VolumeSource], list[str]]:
    sources: dict[str, VolumeSource] = {}
    refused: list[VolumeSource] = []
    twice = strange = 0
    for name, split in _FOLDERS.items():
        if not os.path.lexists(root / name):
            continue
        paths, unlisted = list_volumes(root / name, "*/*/*.nii.gz")
        refused += unlisted
        for path in paths:
            match = _NAME.fullmatch(path.name)
            if match is None:
                strange += 1
                continue
            volume, scan, patient = match.groups()
            before = sources.get(f"{volume}.nii.gz")
            twice += before is not None and before.split == split
            if before is not None and before.split != split:
                volume = f"{name}/{volume}"  # kept apart, so that the leak is found where leaks are found
            sources[f"{volume}.nii.gz"] = VolumeSource(volume=f"{volume}.nii.gz", scan=scan, patient=patient, split=split, path=path)
    notes = [f"{twice:,} volumes are there in both versions; the second, from the _fixed folders, is taken."] if twice else []
    return sources, refused, notes + ([f"{strange:,} files are not named as CT-RATE names volumes, and were left out."] if strange else [])


def _rows(tables: Iterable[TextTable], what: str, facts: Callable[[Row], Any]) -> dict[str, tuple[TableRow, Path]]:
    """Rows by volume."""

    def name_of(table: TextTable, cells: Row) -> str:
        key = volume_key(cells[VOLUME_NAME])
        return f"{key}.nii.gz" if key else ""

    return unique_rows(tables, key_of=name_of, facts_of=facts, what=f"{what} for a volume")


def _metadata_facts(cells: Row) -> tuple[object, ...]:
    """What is read from a row of metadata."""
    return metadata_facts(cells), _kernel(cells.get("ConvolutionKernel", "")), facts_of(cells)


def _with_rows(
    source: VolumeSource,
    report: tuple[TableRow, Path] | None,
    labels: tuple[TableRow, Path] | None,
    metadata: tuple[TableRow, Path] | None,
) -> VolumeSource:
    if report is not None:
        source = replace(source, report=report_of(report[0].cells), stated_contrast=contrast_of(report[0].cells))
    if metadata is not None:
        row = metadata[0].cells
        source = replace(
            source,
            metadata=reading_fields(row),
            kernel=_kernel(row.get("ConvolutionKernel", "")),
            slice_spacing_mm=parse_positive_number(row.get("ZSpacing", "")),
            facts=facts_of(row),
            study_time=study_time(row),
        )
    if labels is not None:
        try:
            source = replace(source, labels=labels_of(labels[0].cells, source=labels[1]))
        except MetadataError as error:
            source = replace(source, error=error)
    return source


def _kernel(cell: str) -> str:
    """B, or the first of "['Br40f', '3']"."""
    return cell.strip("[]").split(",", maxsplit=1)[0].strip(" '\"")
