"""Map another archive's labels to this model's by a table that the user gives.

A CSV with the columns `label`, as the table of labels has it, and `abnormality`, as the model has it. A label may stand in several rows,
and an abnormality too: what hangs together becomes one column, whose probability is the highest of its abnormalities, and which is
present where any of its labels is. What stands in no row is not scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from thoracle.errors import InputError, MetadataError
from thoracle.evaluation.detection.cases import LabelledCases, LabelTable
from thoracle.files.listed_names import column_key
from thoracle.files.table import UTF_8, TextTable


@dataclass(frozen=True, kw_only=True)
class LabelGroup:
    """Group labels and abnormalities that are one column."""

    labels: tuple[str, ...]
    abnormalities: tuple[str, ...]

    @property
    def name(self) -> str:
        """Return the group's name as the report has it."""
        return " / ".join(self.labels)


def read_mapping(path: Path, *, encoding: str = UTF_8) -> tuple[LabelGroup, ...]:
    """Read the groups of a table, in order of their first rows.

    Raises:
        MetadataError: not such a table.
    """
    table = TextTable(path=path, encoding=encoding)
    rows = list(table.rows()) if {"label", "abnormality"} <= set(table.columns) else []
    if not rows:
        raise MetadataError("expected rows with the columns label and abnormality", hint="Give one row a pair.", source=path)
    pairs = [(row.cells["label"].strip(), row.cells["abnormality"].strip()) for row in rows]
    empty = [str(row.line) for row, pair in zip(rows, pairs, strict=True) if not all(pair)]
    if empty:
        raise MetadataError(f"lines {', '.join(empty[:10])} are not whole", hint="Give one row a pair.", source=path)
    groups: list[LabelGroup] = []
    for label, abnormality in pairs:
        joined = [group for group in groups if label in group.labels or abnormality in group.abnormalities]
        labels = dict.fromkeys([name for group in joined for name in group.labels] + [label])
        abnormalities = dict.fromkeys([name for group in joined for name in group.abnormalities] + [abnormality])
        group = LabelGroup(labels=tuple(labels), abnormalities=tuple(abnormalities))
        index = groups.index(joined[0]) if joined else len(groups)
        groups = [group for group in groups if group not in joined]
        groups.insert(index, group)
    return tuple(groups)


def mapped(cases: LabelledCases, predictions: LabelTable, groups: Sequence[LabelGroup]) -> tuple[LabelledCases, LabelTable]:
    """Map labels and predictions to groups as columns.

    Raises:
        InputError: a name that is in the mapping, and in no table.
    """
    label_columns, columns = (
        {column_key(name): index for index, name in enumerate(names)} for names in (cases.labels, predictions.columns)
    )
    for positions, recognized, requested, where in (
        (label_columns, cases.labels, [name for group in groups for name in group.labels], "the table of labels"),
        (columns, predictions.columns, [name for group in groups for name in group.abnormalities], "the probabilities"),
    ):
        unknown = [name for name in requested if column_key(name) not in positions]
        if unknown:
            raise InputError(
                f"{', '.join(unknown[:10])} of the mapping is no column of {where}", hint=f"It has {', '.join(recognized[:30])}."
            )
    truth = [_any([cases.truth_NK[:, label_columns[column_key(name)]] for name in group.labels]) for group in groups]
    targets = [np.max([predictions.values_NK[:, columns[column_key(name)]] for name in group.abnormalities], axis=0) for group in groups]
    names = tuple(group.name for group in groups)
    return (
        replace(cases, labels=names, truth_NK=np.stack(truth, axis=1)),
        replace(predictions, columns=names, values_NK=np.stack(targets, axis=1)),
    )


def _any(columns: list[np.ndarray]) -> np.ndarray:
    """1 where any is, 0 where all are, NaN where that cannot be said."""
    values = np.stack(columns)
    return np.where((values == 1).any(axis=0), 1.0, np.where(np.isnan(values).any(axis=0), np.nan, 0.0))
