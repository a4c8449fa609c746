"""Encode reports of text files and tables into a table of latents that a stopped run goes on with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Final

from thoracle.cohort.reports import clean_text
from thoracle.errors import InputError
from thoracle.files.table import TABLE_SUFFIXES
from thoracle.inference.batch.result_table import ResultTable, RowSource
from thoracle.inference.labeler.report_table import ReportTable
from thoracle.inference.latents import latent_row
from thoracle.inference.model import Model

_AT_ONCE: Final = 256
_LARGEST: Final = 1 << 20


def read_reports(paths: Sequence[Path], *, id_column: str, text_columns: Sequence[str], encoding: str) -> dict[str, str]:
    """Read reports by name, cleaned as published: a text file by its stem, a table's rows by a column.

    Raises:
        InputError: no such file, no report, no text, or a name twice.
        MetadataError: not such a table.
    """
    reports: dict[str, str] = {}
    for path in paths:
        if not path.is_file():
            raise InputError("no such file", hint="Give text files, or tables of reports.", source=path)
        if path.suffix.lower() in TABLE_SUFFIXES:
            table = ReportTable(path=path, id_column=id_column, text_columns=text_columns, encoding=encoding)
            rows = [(row.id.strip(), row.text) for row in table.rows()]
        else:
            rows = [(path.stem, read_report_text(path))]
        for name, text in rows:
            if not name or not clean_text(text) or name in reports:
                reason = "stands twice" if name in reports else "has no name or no text"
                raise InputError(f"the report {name[:60]!r} {reason}", hint="Mend it, or name the columns.", source=path)
            reports[name] = clean_text(text)
    if not reports:
        raise InputError("no report in them", hint="Check that the tables were copied whole.", source=paths[-1])
    return reports


def read_report_text(path: Path) -> str:
    """Read the text file of a report.

    Raises:
        InputError: no file, more than a megabyte, or another encoding than UTF-8.
    """
    if not path.is_file() or path.stat().st_size > _LARGEST:
        raise InputError("is no text file of a report", hint="Give one of up to a megabyte.", source=path)
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"is not UTF-8 (its byte {error.start + 1:,})", hint="Save it as text in UTF-8.", source=path) from error


def embed_reports(model: Model, reports: dict[str, str], table: ResultTable) -> Iterator[str]:
    """Add the latent of each report that has no row of its words, and yield its name.

    Raises:
        CapabilityMissing: the model reads no text.
        TokenizerMissing: its tokenizer is not there.
    """
    sources = {name: RowSource(sha256=sha256(text.encode("utf-8", "replace")).hexdigest()) for name, text in reports.items()}
    todo = iter([name for name, source in sources.items() if (row := table.sources.get(name)) is None or not row.equals(source)])
    while part := list(islice(todo, _AT_ONCE)):
        latents = model.encode_text([reports[name] for name in part]).cpu().numpy()
        for name, latent in zip(part, latents, strict=True):
            table.add(name, latent_row(latent), source=sources[name])
            yield name
