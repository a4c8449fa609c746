"""Hold the volumes to score: patient, scan, split and labels of a cohort or a table, beside a table of probabilities."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from thoracle.cohort.manifest import Cohort
from thoracle.cohort.sources import SPLITS, Split
from thoracle.cohort.splits import find_leaks, refuse_leaks
from thoracle.errors import InputError, MetadataError
from thoracle.evaluation.detection.summary import Scores
from thoracle.types import ABNORMALITIES, FloatArray

VOLUME_NAME: Final = "VolumeName"
#: Columns of a table of labels that are none.
_ABOUT: Final = ("patient", "scan", "split")
_CT_RATE: Final = re.compile(r"(((train|valid)_\d+)_[a-z]+)_\d+(\.nii(\.gz)?)?")
_MOST_BYTES: Final = 1 << 28
_MOST_NAMED: Final = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelTable:
    """Hold names of volumes, names of columns, numbers (N, K); NaN where a cell is empty."""

    names: tuple[str, ...]
    columns: tuple[str, ...]
    values_NK: FloatArray
    about: dict[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledCases:
    """Hold volumes with what is known of them; `splits` holds "" where nobody says."""

    names: tuple[str, ...]
    patients: tuple[str, ...]
    scans: tuple[str, ...]
    splits: tuple[str, ...]
    labels: tuple[str, ...]
    truth_NK: FloatArray

    def select(self, keep: ArrayLike) -> LabelledCases:
        """Return the cases for which `keep` holds."""
        rows = np.flatnonzero(np.asarray(keep))

        def chosen(values: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(values[row] for row in rows)

        return LabelledCases(
            names=chosen(self.names),
            patients=chosen(self.patients),
            scans=chosen(self.scans),
            splits=chosen(self.splits),
            labels=self.labels,
            truth_NK=self.truth_NK[rows],
        )


def cases_of_cohort(cohort: Cohort) -> LabelledCases:
    """List every volume of a prepared cohort as a case."""
    entries = cohort.entries
    truth = [[math.nan if label is None else float(label) for label in entry.labels] for entry in entries]
    return _checked(
        LabelledCases(
            names=tuple(entry.volume for entry in entries),
            patients=tuple(entry.patient for entry in entries),
            scans=tuple(entry.scan for entry in entries),
            splits=tuple(entry.split for entry in entries),
            labels=ABNORMALITIES,
            truth_NK=np.array(truth, dtype=np.float64).reshape(len(entries), len(ABNORMALITIES)),
        )
    )


def cases_of_table(path: Path) -> LabelledCases:
    """Read cases from a CSV: VolumeName, a column of 0, 1 or nothing per label, and `patient`, `scan`, `split` where names are not
    CT-RATE's.

    Raises:
        MetadataError: no such table.
        InputError: values that cannot be, or no word on whose scans they are.
    """
    table = read_table(path)
    names = [_CT_RATE.fullmatch(name) for name in table.names]
    about = dict(table.about)
    for column, group in (("patient", 2), ("scan", 1), ("split", 3)):
        if column not in about and all(names):
            about[column] = tuple(name[group] for name in names if name)
    if "patient" not in about:
        named = _listed([name for name, matched in zip(table.names, names, strict=True) if not matched])
        raise InputError(
            f"has no column patient, and names that are not CT-RATE's: {named}",
            hint="Add the column: intervals are over patients.",
            source=path,
        )
    wrong = sorted(set(about.get("split", ())) - {*SPLITS, ""})
    if wrong:
        raise InputError(f"split must be one of {', '.join(SPLITS)}, is {wrong[0]!r:.40}", hint="Correct the column.", source=path)
    odd = ~(np.isnan(table.values_NK) | np.isin(table.values_NK, (0, 1)))
    if odd.any():
        rows = [table.names[row] for row in np.flatnonzero(odd.any(axis=1))]
        raise InputError(f"labels must be 0, 1 or empty, are not in rows {_listed(rows)}", hint="Correct them.", source=path)
    return _checked(
        LabelledCases(
            names=table.names,
            patients=about["patient"],
            scans=about.get("scan", table.names),
            splits=about.get("split", ("",) * len(table.names)),
            labels=table.columns,
            truth_NK=table.values_NK,
        )
    )


def read_table(path: Path) -> LabelTable:
    """Read a CSV of numbers by VolumeName, as `thoracle detect --out` writes it.

    Raises:
        MetadataError: no such table, cells that are no numbers, a volume twice; rows are named.
    """
    if path.stat().st_size > _MOST_BYTES:
        raise MetadataError(f"is larger than {_MOST_BYTES:,} bytes", hint="Give a table of scores.", source=path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            columns = tuple(name.strip() for name in next(reader, ()))
            rows = [row for row in reader if row]
    except (csv.Error, UnicodeDecodeError) as error:
        raise MetadataError(f"is not a CSV table in UTF-8 ({error})", hint="Save it as CSV, UTF-8.", source=path) from None
    if VOLUME_NAME not in columns or len(set(columns)) < len(columns) or not rows:
        raise MetadataError(f"expected rows, and a column {VOLUME_NAME} and others, each once", hint="Mend its first line.", source=path)
    short = [str(line) for line, row in enumerate(rows, 2) if len(row) != len(columns)]
    if short:
        raise MetadataError(f"lines {_listed(short)} have more or fewer fields than the first", hint="Save it again.", source=path)
    position = columns.index(VOLUME_NAME)
    names = tuple(row[position] for row in rows)
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise MetadataError(f"has rows of one volume twice: {_listed(twice)}", hint="Keep one of each.", source=path)
    numeric = [column for column in columns if column not in (VOLUME_NAME, *_ABOUT)]
    values = [[_number(row[columns.index(column)]) for column in numeric] for row in rows]
    wrong = [name for name, row in zip(names, values, strict=True) if None in row]
    if wrong:
        raise MetadataError(f"has cells that are no numbers, in rows {_listed(wrong)}", hint="Correct them.", source=path)
    about: dict[str, tuple[str, ...]] = {
        column: tuple(row[columns.index(column)].strip() for row in rows) for column in _ABOUT if column in columns
    }
    return LabelTable(
        names=names, columns=tuple(numeric), values_NK=np.array(values, dtype=np.float64).reshape(len(rows), len(numeric)), about=about
    )


def join(cases: LabelledCases, predictions: LabelTable) -> Scores:
    """Join probabilities to labels, of the cases alone, in their order.

    Raises:
        InputError: a label without a column of probabilities, cases without a row, or rows with something else than probabilities.
    """
    missing = [name for name in cases.labels if name not in predictions.columns]
    if missing:
        raise InputError(f"no probabilities of {_listed(missing)}", hint=f"The table has {_listed(predictions.columns)}.")
    rows = {name: row for row, name in enumerate(predictions.names)}
    absent = [name for name in cases.names if name not in rows]
    if absent:
        raise InputError(
            f"{len(absent):,} of {len(cases.names):,} labelled volumes have no probabilities: {_listed(absent)}",
            hint="Score them, or take their labels out; names must be the same in both tables.",
        )
    columns = [predictions.columns.index(name) for name in cases.labels]
    probabilities = predictions.values_NK[[rows[name] for name in cases.names]][:, columns]
    odd = ~((probabilities >= 0) & (probabilities <= 1)).all(axis=1)
    if odd.any():
        named = _listed([cases.names[row] for row in np.flatnonzero(odd)])
        raise InputError(f"probabilities are NaN or outside 0 to 1 in rows {named}", hint="Score these scans again, or leave them out.")
    return Scores(names=cases.names, patients=cases.patients, labels=cases.labels, probabilities_NK=probabilities, truth_NK=cases.truth_NK)


def by_scan(scores: Scores, cases: LabelledCases) -> Scores:
    """Average the probabilities of volumes of one scan.

    Raises:
        InputError: volumes of one scan whose labels differ.
    """
    order = {scan: position for position, scan in enumerate(dict.fromkeys(cases.scans))}
    positions = np.array([order[scan] for scan in cases.scans])
    first = np.unique(positions, return_index=True)[1]
    mismatched = ~((scores.truth_NK == scores.truth_NK[first[positions]]) | np.isnan(scores.truth_NK)).all(axis=1)
    if mismatched.any():
        named = _listed(sorted({cases.scans[row] for row in np.flatnonzero(mismatched)}))
        raise InputError(f"volumes of one scan have other labels than its first, in {named}", hint="Correct them, or score volumes.")
    counts = np.bincount(positions)[:, None]
    summed = np.zeros((len(order), len(scores.labels)))
    np.add.at(summed, positions, scores.probabilities_NK)
    return Scores(
        names=tuple(order),
        patients=tuple(scores.patients[row] for row in first),
        labels=scores.labels,
        probabilities_NK=summed / counts,
        truth_NK=scores.truth_NK[first],
    )


def _checked(cases: LabelledCases) -> LabelledCases:
    """Raises SplitLeak where a patient is in two splits."""
    splits: dict[str, Split] = {split: split for split in SPLITS}
    rows = zip(cases.patients, cases.names, cases.splits, strict=True)
    refuse_leaks(find_leaks(((who, name, splits[split]) for who, name, split in rows if split), what="patient"))
    return cases


def _number(cell: str) -> float | None:
    """NaN for nothing; None for what is no number."""
    try:
        return float(cell) if cell.strip() else math.nan
    except ValueError:
        return None


def _listed(names: Collection[str]) -> str:
    shown = ", ".join(list(names)[:_MOST_NAMED])
    return shown + (f" and {len(names) - _MOST_NAMED:,} more" if len(names) > _MOST_NAMED else "")
