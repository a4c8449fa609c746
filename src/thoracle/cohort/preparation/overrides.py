"""Apply what a command says of how scans are read to the volumes that a layout listed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from thoracle.cohort.sources import VolumeSource
from thoracle.ct.metadata import MetadataRow, MetadataTable, lookup_metadata
from thoracle.errors import InputError, MetadataError
from thoracle.files.table import UTF_8


def with_metadata(sources: Sequence[VolumeSource], table: Path, *, encoding: str = UTF_8) -> tuple[list[VolumeSource], str]:
    """Give volumes their rows of a metadata table, in place of those that the archive has; a volume whose row makes no sense is refused.

    Args:
        sources: under their own names.
        table: rows by the name of the volume or its file, or a JSON file with one row for all.
        encoding: of the table.

    Returns:
        The volumes, and how many have a row.

    Raises:
        MetadataError: no table, or one without a row for any of them.
    """
    try:
        rows = MetadataTable.open(table, encoding=encoding)
    except MetadataError:
        single = lookup_metadata(table, table)  # an object with the fields of one row; raises its own reason for what is no such file
        assert single is not None, "a table was given"
        return [replace(source, metadata=_fields(single)) for source in sources], f"{table.name}: one row, for all volumes."
    overridden, matched = [], 0
    for source in sources:
        name = next((name for name in (source.volume, source.path.name) if name in rows), None)
        matched += name is not None
        try:
            overridden.append(source if name is None else replace(source, metadata=_fields(rows.row(name))))
        except MetadataError as error:
            overridden.append(replace(source, error=error))
    if not matched:
        raise MetadataError(
            f"none of its {len(rows):,} rows is of any of {len(sources):,} volumes", hint="Give the table of this archive.", source=table
        )
    return overridden, f"{matched:,} of {len(sources):,} volumes have a row in the table of --metadata."


def with_series(sources: Sequence[VolumeSource], choices: Sequence[str]) -> list[VolumeSource]:
    """Choose the volumes to read where a folder, or one UID, holds several.

    Args:
        sources: under their own names; those that are one series of a known UID change only where it is meant.
        choices: SeriesInstanceUIDs or unique beginnings of them, each with "#2" after it for the second volume under it.

    Raises:
        InputError: no volume, or volumes of several UIDs, can be meant; one volume twice; or several in folders whose UIDs are not known.
    """
    if len(choices) > 1 and any(map(_holds_several, sources)):
        hint = "Give it once; or prepare the archive with --layout dicom, which knows each series."
        raise InputError("--series is given more than once, and folders of this layout are read whole", hint=hint)
    chosen = list(sources)
    for choice in choices:
        chosen = _with_choice(chosen, choice)
    return chosen


def _with_choice(sources: Sequence[VolumeSource], series: str) -> list[VolumeSource]:
    uid, _, part = series.partition("#")
    known = {source.series.partition("#")[0] for source in sources if source.series}
    meant = {uid} if uid in known else {name for name in known if name.startswith(uid)}
    holds_several = list(map(_holds_several, sources))
    if len(meant) > 1 or not (meant or any(holds_several)):
        count = f"{len(meant):,} series" if meant else "no series"
        raise InputError(f"{count} in the archive with a UID that begins so: --series {series:.80}", hint="Give the whole UID of one.")
    if not any(holds_several) and any(source.series and source.series.startswith(f"{name}#") for source in sources for name in meant):
        raise InputError(f"--series chooses among the volumes of one UID twice: {series:.80}", hint="Choose one of them.")
    chosen = []
    for source, several in zip(sources, holds_several, strict=True):
        if several:
            chosen.append(replace(source, series=series))
        else:
            chosen.append(replace(source, series=f"{source.series}#{part}") if part and source.series in meant else source)
    return chosen


def _holds_several(source: VolumeSource) -> bool:
    return source.error is None and source.series is None and (source.path.is_dir() or source.path.suffix.lower() == ".zip")


def _fields(row: MetadataRow) -> dict[str, str]:
    numbers = {
        "RescaleSlope": row.slope,
        "RescaleIntercept": row.intercept,
        "XYSpacing": None if row.spacing is None else list(row.spacing[:2]),
        "ZSpacing": None if row.spacing is None else row.spacing[2],
        "ImageOrientationPatient": None if row.orientation is None else list(row.orientation),
        "PatientPosition": row.position,
    }
    return {field: str(value) for field, value in numbers.items() if value is not None}
