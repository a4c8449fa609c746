"""CT-RATE, version 1 and 2, whole or in part: SPLIT/SPLIT_P/SPLIT_P_S/SPLIT_P_S_R.nii.gz, and tables wherever they were put.

https://huggingface.co/datasets/ibrahimhamamci/CT-RATE. P is the patient, S the scan, R the reconstruction. Where a volume is there in
both versions, the second (`train_fixed`, `valid_fixed`) is taken.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

from thoracle.cohort.demographics import facts_of
from thoracle.cohort.preparation.visits import study_time
from thoracle.cohort.sources import ArchiveListing, Split, VolumeSource, list_volumes
from thoracle.cohort.tables import VOLUME_NAME, Row, TextTable, find_tables, has_report, labels_of, parse_positive_number, report_of
from thoracle.ct.metadata import reading_fields
from thoracle.errors import LayoutMismatch, MetadataError
from thoracle.types import ABNORMALITIES

#: Folders with volumes; the later one of a split wins.
_FOLDERS: Final[dict[str, Split]] = {"train": "train", "valid": "valid", "train_fixed": "train", "valid_fixed": "valid"}
_NAME: Final = re.compile(r"((([A-Za-z]+_\d+)_[A-Za-z]+)_\d+)\.nii\.gz")
_NOT_TABLES: Final = (*_FOLDERS, "masks", "truth")


def find(folder: Path) -> ArchiveListing:
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
    tables = find_tables(folder, beside=_NOT_TABLES)
    reports = _rows((table for table in tables if has_report(table)), "reports")
    labels = _rows((table for table in tables if ABNORMALITIES[0] in table.columns), "labels")
    metadata = _rows((table for table in tables if "XYSpacing" in table.columns), "metadata")
    columns_of: list[tuple[str, dict[str, tuple[Row, Path]]]] = [("reports", reports), ("labels", labels), ("metadata", metadata)]
    for what, rows in columns_of:
        without = sum(name not in rows for name in volumes)
        if without:
            notes.append(f"{without:,} of {len(volumes):,} volumes have no row in a table of {what}.")
    listed = (_with_rows(source, reports.get(name), labels.get(name), metadata.get(name)) for name, source in sorted(volumes.items()))
    sources = (*listed, *refused)
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


def _rows(tables: Iterable[TextTable], what: str) -> dict[str, tuple[Row, Path]]:
    """Rows by volume; the same row twice is one row."""
    rows: dict[str, tuple[Row, Path]] = {}
    for table in tables:
        if VOLUME_NAME not in table.columns:
            continue
        for row in table.rows():
            name = row[VOLUME_NAME].removesuffix(".gz").removesuffix(".nii") + ".nii.gz"
            if name in rows and dict(rows[name][0]) != row:
                detail = f"its row of {what} for a volume is unlike that in {rows[name][1].name}"
                raise MetadataError(detail, hint="Take one of the two tables away.", source=table.path)
            rows[name] = (row, table.path)
    return rows


def _with_rows(
    source: VolumeSource, report: tuple[Row, Path] | None, labels: tuple[Row, Path] | None, metadata: tuple[Row, Path] | None
) -> VolumeSource:
    if report is not None:
        source = replace(source, report=report_of(report[0]))
    if metadata is not None:
        row = metadata[0]
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
            source = replace(source, labels=labels_of(labels[0], source=labels[1]))
        except MetadataError as error:
            source = replace(source, error=error)
    return source


def _kernel(cell: str) -> str:
    """B, or the first of "['Br40f', '3']"."""
    return cell.strip("[]").split(",", maxsplit=1)[0].strip(" '\"")
