"""Hold the volumes to score: patient, scan, split and labels of a cohort or a table, beside a table of probabilities."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thoracle.cohort.manifest import Cohort
from thoracle.cohort.sources import SPLITS, Split
from thoracle.cohort.splits import find_leaks, refuse_leaks
from thoracle.ct.metadata import volume_key
from thoracle.errors import InputError, MetadataError
from thoracle.evaluation.detection.summary import Scores
from thoracle.files.listed_names import column_key, normalized_name
from thoracle.files.table import UTF_8, TextTable
from thoracle.types import ABNORMALITIES, FloatArray

VOLUME_NAME: Final = "VolumeName"
#: Columns of a table of labels that are none.
_ABOUT: Final = ("patient", "scan", "split")
#: Columns of a table of probabilities that say what a row was made of.
_IDENTITY: Final = ("source_sha256", "series")
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
        columns = {name: tuple(getattr(self, name)[row] for row in rows) for name in ("names", "patients", "scans", "splits")}
        return replace(self, **columns, truth_NK=self.truth_NK[rows])

    def of_labels(self, labels: Sequence[str]) -> LabelledCases:
        """Return the same cases with those of `labels` that they have, in that order, whatever their case and blanks."""
        positions = {column_key(name): index for index, name in enumerate(self.labels)}
        names = tuple(name for name in labels if column_key(name) in positions)
        return replace(self, labels=names, truth_NK=self.truth_NK[:, [positions[column_key(name)] for name in names]])

    def require_labels(self, labels: Sequence[str]) -> LabelledCases:
        """Return the same cases with these labels alone.

        Raises:
            InputError: a label that nobody gave.
        """
        cases = self.of_labels(labels)
        if missing := [name for name in labels if name not in cases.labels]:
            hint = f"Give --labels CSV with VolumeName and a column for each. There are {_listed(self.labels)}."
            raise InputError(f"nobody labelled {_listed(missing)}", hint=hint)
        return cases

    def with_labels(self, path: Path, *, encoding: str = UTF_8) -> LabelledCases:
        """Return the same cases with the labels of a table in place of theirs; all unknown where it has no row.

        Raises:
            MetadataError: no such table.
            InputError: values that cannot be, or none of these cases in it.
        """
        table = read_table(path, encoding=encoding)
        truth_RK, rows = _truth(table, path), _rows_of(self.names, table.names)
        if all(row is None for row in rows):
            hint = f"It has {_listed(table.names[:2])}; the cohort has {_listed(self.names[:2])}."
            raise InputError("has a row of none of the cohort's volumes", hint=hint, source=path)
        unknown = np.full(len(table.columns), np.nan)
        return replace(self, labels=table.columns, truth_NK=np.array([unknown if row is None else truth_RK[row] for row in rows]))

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """Tell which cases have a label."""
        return np.array(~np.isnan(self.truth_NK).all(axis=1), dtype=bool)


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


def cases_of_table(path: Path, *, encoding: str = UTF_8) -> LabelledCases:
    """Read cases from a table: VolumeName, a column per label of 0, 1, or -1 or nothing for unknown, and `patient`, `scan`, `split` where
    names are not CT-RATE's.

    Raises:
        MetadataError: no such table.
        InputError: values that cannot be, or no word on whose scans they are.
    """
    table = read_table(path, encoding=encoding)
    names = [_CT_RATE.fullmatch(volume_key(name)) for name in table.names]
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
    truth_NK = _truth(table, path)
    return _checked(
        LabelledCases(
            names=table.names,
            patients=about["patient"],
            scans=about.get("scan", table.names),
            splits=about.get("split", ("",) * len(table.names)),
            labels=table.columns,
            truth_NK=truth_NK,
        )
    )


def read_table(path: Path, *, encoding: str = UTF_8) -> LabelTable:
    """Read a table of numbers by VolumeName, as `thoracle detect --out` writes it; True and False are 1 and 0.

    Rows that say the same of one volume are one. Names of abnormalities may differ by case and blanks.

    Raises:
        MetadataError: no such table, cells that are no numbers, unlike rows of one volume; rows are named.
    """
    table = TextTable(path=path, encoding=encoding, largest=_MOST_BYTES)
    columns = tuple(name for name in table.columns if name)
    rows = list(table.rows(with_faults=True)) if VOLUME_NAME in columns else []
    if VOLUME_NAME not in columns or len(set(map(column_key, columns))) < len(columns) or not rows:
        raise MetadataError(f"expected rows, and a column {VOLUME_NAME} and others, each once", hint="Mend its first line.", source=path)
    faults = [str(row.line) for row in rows if row.fault]
    if faults:
        raise MetadataError(f"lines {_listed(faults)} have more or fewer fields than the first", hint="Save it again.", source=path)
    numeric = [column for column in columns if column not in (VOLUME_NAME, *_ABOUT, *_IDENTITY)]
    abouts = [column for column in _ABOUT if column in columns]
    values: dict[str, tuple[tuple[float | None, ...], tuple[str, ...]]] = {}
    lines: dict[str, int] = {}
    twice = []
    for row in rows:
        name = normalized_name(row.cells[VOLUME_NAME])
        numbers = tuple(_number(row.cells[column]) for column in numeric)
        content = (numbers, tuple(row.cells[column].strip() for column in abouts))
        before = lines.setdefault(name, row.line)
        if str(values.setdefault(name, content)) != str(content):  # as text, in which NaN is NaN
            twice.append(f"{name} (lines {before} and {row.line})")
    if twice:
        raise MetadataError(f"has unlike rows of one volume twice: {_listed(twice)}", hint="Keep one of each.", source=path)
    wrong = [name for name, (numbers, _) in values.items() if None in numbers]
    if wrong:
        odd = [column for index, column in enumerate(numeric) if any(numbers[index] is None for numbers, _ in values.values())]
        detail = f"has cells that are no numbers, in columns {_listed(odd)}, rows {_listed(wrong)}"
        raise MetadataError(detail, hint="Correct them, or take columns out that are none of labels or probabilities.", source=path)
    about: dict[str, tuple[str, ...]] = {column: tuple(texts[index] for _, texts in values.values()) for index, column in enumerate(abouts)}
    array = np.array([numbers for numbers, _ in values.values()], dtype=np.float64).reshape(len(values), len(numeric))
    return LabelTable(names=tuple(values), columns=tuple(map(_label, numeric)), values_NK=array, about=about)


def _truth(table: LabelTable, path: Path) -> FloatArray:
    """(N, K) of 1, 0 and NaN."""
    truth_NK = np.where(table.values_NK == -1, np.nan, table.values_NK)
    odd = ~(np.isnan(truth_NK) | np.isin(truth_NK, (0, 1)))
    if odd.any():
        columns = [table.columns[index] for index in np.flatnonzero(odd.any(axis=0))]
        rows = [table.names[index] for index in np.flatnonzero(odd.any(axis=1))]
        detail = f"labels must be 0, 1, -1 or empty, are not in columns {_listed(columns)}, rows {_listed(rows)}"
        raise InputError(detail, hint="Correct them, or take columns out that are no labels.", source=path)
    return truth_NK


def join(cases: LabelledCases, predictions: LabelTable) -> Scores:
    """Join probabilities to labels, of the cases alone, in their order.

    Names are matched whole, or where that fails by what is left without folders and extension, if that is of one volume only.

    Raises:
        InputError: a label without a column of probabilities, cases without a row, or rows with something else than probabilities.
    """
    positions = {column_key(name): index for index, name in enumerate(predictions.columns)}
    missing = [name for name in cases.labels if column_key(name) not in positions]
    if missing:
        raise InputError(f"no probabilities of {_listed(missing)}", hint=f"The table has {_listed(predictions.columns)}.")
    rows = _rows_of(cases.names, predictions.names)
    absent = [name for name, row in zip(cases.names, rows, strict=True) if row is None]
    if absent:
        raise InputError(
            f"{len(absent):,} of {len(cases.names):,} labelled volumes have no probabilities: {_listed(absent)}",
            hint=f"Score them, or take their labels out. The other table names volumes such as {_listed(predictions.names[:2])}.",
        )
    columns = [positions[column_key(name)] for name in cases.labels]
    probabilities = predictions.values_NK[[row for row in rows if row is not None]][:, columns]
    odd = ~((probabilities >= 0) & (probabilities <= 1)).all(axis=1)
    if odd.any():
        named = _listed([cases.names[row] for row in np.flatnonzero(odd)])
        raise InputError(f"probabilities are NaN or outside 0 to 1 in rows {named}", hint="Score these scans again, or leave them out.")
    return Scores(names=cases.names, patients=cases.patients, labels=cases.labels, probabilities_NK=probabilities, truth_NK=cases.truth_NK)


def _rows_of(names: Sequence[str], table: Sequence[str]) -> list[int | None]:
    """The row of each name in a table; None where there is none, or several could be meant."""
    whole = {name: row for row, name in enumerate(table)}
    keys = Counter(map(volume_key, names))
    by_key: dict[str, int | None] = {}
    for row, name in enumerate(table):
        key = volume_key(name)
        by_key[key] = None if key in by_key else row
    return [
        whole[name] if name in whole else by_key.get(key) if keys[key := volume_key(name)] == 1 else None
        for name in map(normalized_name, names)
    ]


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


def _label(column: str) -> str:
    """The abnormality that a column is called by but for case and blanks; else the column."""
    return next((name for name in ABNORMALITIES if column_key(name) == column_key(column)), column)


def _number(cell: str) -> float | None:
    """NaN for nothing; None for what is no number."""
    text = cell.strip().lower()
    try:
        return {"": math.nan, "true": 1.0, "false": 0.0}[text] if text in ("", "true", "false") else float(text)
    except ValueError:
        return None


def _listed(names: Collection[str]) -> str:
    shown = ", ".join(list(names)[:_MOST_NAMED])
    return shown + (f" and {len(names) - _MOST_NAMED:,} more" if len(names) > _MOST_NAMED else "")
