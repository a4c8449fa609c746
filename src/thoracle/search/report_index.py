"""Index reports by the latents of their words, in an index of their own beside that of the volumes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from thoracle.cohort.manifest import Cohort
from thoracle.cohort.pseudonyms import SiteKey
from thoracle.cohort.reports import Report, Section
from thoracle.cohort.sources import VolumeSource
from thoracle.errors import InputError, TokenizerMissing
from thoracle.inference.labeler.report_table import ReportTable
from thoracle.inference.model import Model
from thoracle.models.encoder import Capability
from thoracle.search.backend import IndexBackend
from thoracle.search.indexing import to_record
from thoracle.search.record import IndexedVolume, Record

_AT_ONCE: Final = 256


def can_read_reports(model: Model) -> bool:
    """Tell whether a model reads text, and its tokenizer is there."""
    if Capability.TEXT not in model.capabilities:
        return False
    try:
        model.encode_text(["report"])
    except TokenizerMissing:
        return False
    return True


def cohort_reports(cohort: Cohort, key: SiteKey | None, *, splits: Iterable[str] = ()) -> list[Record]:
    """List the reports of a cohort, one a scan, under pseudonyms where there is a key.

    Args:
        cohort: prepared.
        key: puts pseudonyms in place of names.
        splits: only these; all where empty.
    """
    chosen = {*splits}
    records = [to_record(entry, key) for entry in reversed(cohort.entries) if not chosen or entry.split in chosen]
    return [_report_alone(record) for record in {record.scan: record for record in records}.values()][::-1]


def table_reports(table: ReportTable, key: SiteKey | None) -> list[Record]:
    """List the reports of a table, whose scans nobody has; of each the column of `also` is the patient, itself where there is none.

    Raises:
        InputError: rows without a name or text, or a name twice.
        MetadataError: not such a table.
    """
    records: dict[str, Record] = {}
    for row in table.rows():
        name = row.id.strip()
        if row.fault or not name or not row.text or name in records:
            reason = row.fault or ("stands twice" if name in records else "has no name" if not name else "has no text")
            raise InputError(
                f"report {name[:60] or len(records) + 1!r}: {reason}", hint="Mend the table, or name its columns.", source=table.path
            )
        patient = row.also[0] if row.also else name
        source = VolumeSource(volume=name, scan=name, patient=patient, path=Path(), accession=name)
        if key is not None:
            source = key.pseudonymize(source)
        records[name] = Record(
            volume=source.scan,
            scan=source.scan,
            accession=source.accession,
            patient=source.patient,
            report=Report(findings=row.text.replace("\0", " ")),
        )
    return list(records.values())


def join_scans(records: Iterable[Record], index: IndexBackend) -> list[Record]:
    """Give reports of a table the names, labels and facts of their scans, where an index has these: they leave with their patients.

    Args:
        records: of `table_reports`.
        index: of volumes; a row is of the scan that has its name as accession.
    """
    joined = []
    for record in records:
        scans = {volume.scan: volume for volume in index.records(index.ids_where(accession=record.accession)).values()}
        joined.append(replace(_report_alone(*scans.values()), report=record.report) if len(scans) == 1 else record)
    return joined


def index_reports(reports: IndexBackend, records: Sequence[Record], model: Model, *, section: Section) -> int:
    """Add the reports that an index does not have, and those that have changed; those without words are left out, or leave.

    Args:
        reports: opened for writing, of `report_settings` these.
        records: one a report, named by its scan.
        model: encodes each.
        section: of a report.

    Returns:
        How many were added.
    """
    reports.delete([number for record in records if not record.report.text(section) for number in reports.ids_where(volume=record.volume)])
    todo = [record for record in records if record.report.text(section) and not _is_there(reports, record)]
    for part in _groups(todo):
        latents = model.encode_text([record.report.text(section) for record in part]).cpu().numpy()
        reports.add([IndexedVolume(record=record, latent_L=np.array(latent)) for record, latent in zip(part, latents, strict=True)])
    return len(todo)


def _report_alone(record: Record) -> Record:
    """A record of no volume, named by its scan."""
    return replace(record, volume=record.scan, source_sha256="", voxels_sha256="")


def _is_there(reports: IndexBackend, record: Record) -> bool:
    return record in reports.records(reports.ids_where(volume=record.volume)).values()


def _groups(records: Iterable[Record]) -> Iterator[list[Record]]:
    iterator = iter(records)
    while part := list(islice(iterator, _AT_ONCE)):
        yield part
