"""Evaluate labelers against a reference and against each other.

A report that a backend, or the table, cannot read is left out of that backend's figures and counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from thoracle.cohort.tables import LABEL_VALUES
from thoracle.errors import InputError, MetadataError
from thoracle.evaluation.detection.summary import Scores, Summary, summarise
from thoracle.inference.labeler.evidence import Labels
from thoracle.inference.labeler.report_table import ReportRow, ReportTable
from thoracle.inference.labeler.runner import LabelerBackend, label_rows
from thoracle.inference.labeler.sentences import unreadable
from thoracle.types import ABNORMALITIES

_AT_ONCE: Final = 250
#: A label is 0 or 1; half is between.
_THRESHOLDS: Final = np.full(len(ABNORMALITIES), 0.5)


@dataclass(frozen=True, kw_only=True, eq=False)
class Labelled:
    """Hold reports with what each backend said of them.

    Attributes:
        rows: the reports.
        reference: what is so, for each; None for a table without labels.
        by_backend: what each said, in the order of `rows`.
    """

    rows: tuple[ReportRow, ...]
    reference: tuple[tuple[int | None, ...], ...] | None
    by_backend: Mapping[str, tuple[Labels, ...]]

    def summary(self, backend: str, *, resamples: int) -> tuple[Summary, int]:
        """Compute the metrics of one backend with intervals over reports, and the number of reports in them.

        Raises:
            InputError: there is no reference, or no report that was labelled.
        """
        if self.reference is None:
            raise InputError("the table has no labels to compare with", hint="Give one with the columns of the 18 abnormalities.")
        readable = [row for row, labels in enumerate(self.by_backend[backend]) if not labels.unknown]
        if not readable:
            raise InputError(f"{backend} labelled no report", hint="Look at what `thoracle label` says of them.")
        names = tuple(self.rows[row].id for row in readable)
        said_NK = np.array([self.by_backend[backend][row].values for row in readable], dtype=np.float64)
        truth_NK = np.array([self.reference[row] for row in readable], dtype=np.float64)
        scores = Scores(
            names=names,
            patients=names,  # equal reports are one draw's, unequal ones are another's: ids say which
            labels=ABNORMALITIES,
            probabilities_NK=np.nan_to_num(said_NK),
            truth_NK=np.where(np.isnan(said_NK), np.nan, truth_NK),  # a label that is unknown is not counted
        )
        return summarise(scores, thresholds=_THRESHOLDS, ranking=False, resamples=resamples), len(readable)


def label_all(table: ReportTable, labellers: Mapping[str, LabelerBackend]) -> Labelled:
    """Label a table with every backend.

    Args:
        table: its `also` names the 18 abnormalities, or nothing.
        labellers: by the names they go by here.

    Raises:
        MetadataError: the table cannot be read, or a label is neither 0 nor 1.
    """
    rows = tuple(table.rows())
    batches = [rows[at : at + _AT_ONCE] for at in range(0, len(rows), _AT_ONCE)]
    answers = {name: tuple(labels for batch in batches for labels in label_rows(labeler, batch)) for name, labeler in labellers.items()}
    return Labelled(rows=rows, reference=_reference(table, rows) if table.also else None, by_backend=answers)


def read_labelled(table: ReportTable) -> list[tuple[ReportRow, tuple[int | None, ...]]]:
    """Read the reports that have text, with their labels; `table.also` names the 18 abnormalities.

    Raises:
        MetadataError: the table cannot be read, or a label is neither 0 nor 1.
    """
    rows = tuple(row for row in table.rows() if not row.fault and not unreadable(row.text))
    return list(zip(rows, _reference(table, rows), strict=True))


def _reference(table: ReportTable, rows: Sequence[ReportRow]) -> tuple[tuple[int | None, ...], ...]:
    for row in rows:
        for name, cell in zip(table.also, row.also, strict=False):
            if cell.lower() not in LABEL_VALUES:
                detail = f"{name} must be 0, 1 or empty, is {cell!r:.40} in the row of {row.id!r:.60}"
                raise MetadataError(detail, hint="Correct the row.", source=table.path)
    return tuple(tuple(LABEL_VALUES[cell.lower()] for cell in row.also) or (None,) * len(ABNORMALITIES) for row in rows)
