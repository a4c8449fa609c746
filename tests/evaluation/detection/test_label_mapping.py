from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from thoracle.errors import InputError, MetadataError
from thoracle.evaluation.detection.cases import LabelledCases, LabelTable
from thoracle.evaluation.detection.label_mapping import LabelGroup, mapped, read_mapping


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mapping.csv"
    path.write_text(text)
    return path


def test_what_hangs_together_is_one_column(tmp_path: Path) -> None:
    path = _file(
        tmp_path, "label,abnormality\ncalcification,Arterial\nfibrosis,Sequela\ncalcification,Coronary\nscarring,Sequela\nnodule,Nodule\n"
    )
    groups = read_mapping(path)
    assert groups == (
        LabelGroup(labels=("calcification",), abnormalities=("Arterial", "Coronary")),
        LabelGroup(labels=("fibrosis", "scarring"), abnormalities=("Sequela",)),
        LabelGroup(labels=("nodule",), abnormalities=("Nodule",)),
    )
    cases = LabelledCases(
        names=("a", "b"),
        patients=("a", "b"),
        scans=("a", "b"),
        splits=("", ""),
        labels=("calcification", "fibrosis", "scarring", "nodule", "unused"),
        truth_NK=np.array([[1, 0, 1, 0, 1], [0, np.nan, 0, 1, 0]]),
    )
    given = LabelTable(
        names=("a", "b"),
        columns=("Arterial", "Coronary", "Sequela", "Nodule"),
        values_NK=np.array([[0.1, 0.8, 0.3, 0.4], [0.6, 0.2, 0.5, 0.7]]),
        about={},
    )
    truth, table = mapped(cases, given, groups)
    assert truth.labels == table.columns == ("calcification", "fibrosis / scarring", "nodule")
    np.testing.assert_array_equal(truth.truth_NK, [[1, 1, 0], [0, np.nan, 1]])  # scarring is absent, of fibrosis nobody says
    np.testing.assert_array_equal(table.values_NK, [[0.8, 0.3, 0.4], [0.6, 0.5, 0.7]])
    with pytest.raises(InputError, match="Unknown of the mapping is no column of the probabilities"):
        mapped(cases, given, (LabelGroup(labels=("nodule",), abnormalities=("Unknown",)),))
    with pytest.raises(InputError, match="strange of the mapping is no column of the table of labels"):
        mapped(cases, given, (LabelGroup(labels=("strange",), abnormalities=("Nodule",)),))


def test_a_later_row_can_join_two_groups(tmp_path: Path) -> None:
    path = _file(tmp_path, "label,abnormality\na,A\nb,B\nc,C\na,B\n")
    assert read_mapping(path) == (LabelGroup(labels=("a", "b"), abnormalities=("A", "B")), LabelGroup(labels=("c",), abnormalities=("C",)))


@pytest.mark.parametrize("text", ["label,abnormality\n", "a,b\n1,2\n", ""])
def test_other_tables_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(MetadataError, match="the columns label and abnormality"):
        read_mapping(_file(tmp_path, text))


def test_a_row_that_is_not_whole_is_named(tmp_path: Path) -> None:
    with pytest.raises(MetadataError, match="lines 3 are not whole"):
        read_mapping(_file(tmp_path, "label,abnormality\na,A\nb,\n"))


def test_names_differ_by_case_and_blanks(tmp_path: Path) -> None:
    groups = read_mapping(_file(tmp_path, "label;abnormality\nNodule ;lung  nodule\n"))
    cases = LabelledCases(names=("a",), patients=("a",), scans=("a",), splits=("",), labels=("nodule",), truth_NK=np.array([[1.0]]))
    table = LabelTable(names=("a",), columns=("Lung nodule",), values_NK=np.array([[0.7]]), about={})
    truth, scores = mapped(cases, table, groups)
    assert (truth.truth_NK.tolist(), scores.values_NK.tolist()) == ([[1.0]], [[0.7]])
