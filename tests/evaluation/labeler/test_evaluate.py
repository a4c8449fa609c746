from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from thoracle.errors import InputError, MetadataError
from thoracle.evaluation.labeler.evaluate import label_all
from thoracle.inference.labeler.report_table import ReportTable
from thoracle.inference.labeler.rules import RuleLabeller
from thoracle.types import ABNORMALITIES


def table(path: Path, rows: list[tuple[str, str, set[str]]], *, also: tuple[str, ...] = ABNORMALITIES) -> ReportTable:
    lines = [",".join(("AccessionNo", "report_text", *ABNORMALITIES))]
    lines += [",".join((name, text, *(str(int(label in labels)) for label in ABNORMALITIES))) for name, text, labels in rows]
    path.write_text("\n".join(lines) + "\n")
    return ReportTable(path=path, also=also)


ROWS = [
    ("a", "A nodule is seen in the lingula.", {"Lung nodule"}),
    ("b", "A nodule is seen in the lingula.", set()),
    ("c", "The lungs are clear on both sides.", {"Lung nodule"}),
    ("d", "The heart is bigger than usual.", {"Cardiomegaly"}),
    ("e", "", {"Cardiomegaly"}),
]


def test_figures_are_those_of_the_reports_that_were_read(tmp_path: Path) -> None:
    labelled = label_all(table(tmp_path / "r.csv", ROWS), {"rules": RuleLabeller()})
    summary, count = labelled.summary("rules", resamples=50)
    assert count == 4
    nodule = summary.by_label["Lung nodule"]
    assert (nodule["precision"].value, nodule["recall"].value, nodule["f1"].value) == (0.5, 0.5, 0.5)
    assert nodule["f1"].low <= 0.5 <= nodule["f1"].high
    assert summary.by_label["Cardiomegaly"]["f1"].value == 1
    assert summary.average["macro_f1"].value == 0.75
    assert summary.average["f1_micro"].value == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))


def test_without_a_reference_there_are_no_figures(tmp_path: Path) -> None:
    labelled = label_all(table(tmp_path / "r.csv", ROWS, also=()), {"rules": RuleLabeller()})
    with pytest.raises(InputError, match="no labels to compare"):
        labelled.summary("rules", resamples=5)


def test_labels_that_are_none_are_refused(tmp_path: Path) -> None:
    given = table(tmp_path / "r.csv", ROWS)
    given.path.write_text(given.path.read_text().replace("lingula.,0", "lingula.,maybe", 1))
    with pytest.raises(MetadataError, match="must be 0, 1 or empty, is 'maybe'"):
        label_all(given, {"rules": RuleLabeller()})


def test_a_label_that_is_unknown_is_not_counted(tmp_path: Path) -> None:
    given = table(tmp_path / "r.csv", ROWS)
    (said,) = RuleLabeller().label([ROWS[0][1]])
    doubtful = replace(said, values=(*said.values[:-1], None))
    labelled = replace(label_all(given, {"rules": RuleLabeller()}), by_backend={"llm": (doubtful,) * len(ROWS)})
    summary, count = labelled.summary("llm", resamples=5)
    assert count == len(ROWS)
    assert summary.by_label["Lung nodule"]["precision"].value == 0.4
