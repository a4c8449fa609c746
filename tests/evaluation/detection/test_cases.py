from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from thoracle.errors import InputError, MetadataError, SplitLeak
from thoracle.evaluation.detection.cases import LabelledCases, LabelTable, by_scan, cases_of_table, join, read_table

Made = Callable[..., tuple[LabelledCases, LabelTable]]
Write = Callable[..., tuple[Path, Path]]


def test_tables_are_read_as_they_were_written(made: Made, tables: Write) -> None:
    cases, table = made(patients=20, splits=("train", "valid", "test"))
    given, truth = tables(cases, table)
    read = cases_of_table(truth)
    assert (read.names, read.patients, read.scans, read.splits) == (cases.names, cases.patients, cases.scans, cases.splits)
    np.testing.assert_array_equal(read.truth_NK, cases.truth_NK)
    scores = join(read, read_table(given))
    np.testing.assert_allclose(scores.probabilities_NK, table.values_NK, atol=1e-6)


def test_what_a_row_was_made_of_is_no_probability(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    path.write_text(f"VolumeName,source_sha256,series,Cardiomegaly\na.nii.gz,{'0' * 64},1.2.3,0.5\n")
    assert read_table(path).columns == ("Cardiomegaly",)


def test_rows_are_joined_by_name_not_by_place(made: Made) -> None:
    cases, table = made(patients=10)
    back = list(range(len(table.names)))[::-1]
    turned = replace(table, names=tuple(table.names[row] for row in back), values_NK=table.values_NK[back])
    np.testing.assert_array_equal(join(cases, turned).probabilities_NK, join(cases, table).probabilities_NK)


def test_names_of_ct_rate_say_whose_they_are(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("VolumeName,Cardiomegaly\nvalid_1_a_1.nii.gz,1\nvalid_1_a_2.nii.gz,1\ntrain_2_b_1.nii.gz,\n")
    cases = cases_of_table(path)
    assert cases.patients == ("valid_1", "valid_1", "train_2")
    assert cases.scans == ("valid_1_a", "valid_1_a", "train_2_b")
    assert cases.splits == ("valid", "valid", "train")
    assert np.isnan(cases.truth_NK[2, 0])


def test_volumes_of_a_scan_become_one_by_their_mean(made: Made) -> None:
    cases, table = made(patients=30)
    scans = by_scan(join(cases, table), cases)
    assert len(scans.names) == len(scans.patients) == 30
    for scan, row in zip(scans.names, scans.probabilities_NK, strict=True):
        np.testing.assert_allclose(row, table.values_NK[[one == scan for one in cases.scans]].mean(axis=0))


def test_volumes_of_a_scan_with_other_labels_are_named(made: Made) -> None:
    cases, table = made(patients=30)
    row = cases.names.index(next(name for name in cases.names if name.endswith("_2")))
    cases.truth_NK[row, 0] = 1 - cases.truth_NK[row, 0]
    with pytest.raises(InputError, match=f"other labels than its first, in {cases.scans[row]}"):
        by_scan(join(cases, table), cases)


def test_scans_without_a_score_are_named(made: Made) -> None:
    cases, table = made(patients=30)
    fewer = replace(table, names=("other", *table.names[1:]))
    with pytest.raises(InputError, match=f"1 of {len(cases.names)} labelled volumes have no probabilities: p0_a_1"):
        join(cases, fewer)


@pytest.mark.parametrize("value", [np.nan, -0.1, 1.2, np.inf])
def test_scores_that_are_no_probabilities_are_named(made: Made, value: float) -> None:
    cases, table = made(patients=30)
    table.values_NK[4, 1] = value
    with pytest.raises(InputError, match=f"probabilities are NaN or outside 0 to 1 in rows {cases.names[4]}"):
        join(cases, table)


def test_a_label_without_scores_is_named(made: Made) -> None:
    cases, table = made(patients=5)
    with pytest.raises(InputError, match=r"no probabilities of Cardiomegaly. The table has"):
        join(cases, replace(table, columns=(*table.columns[:2], "Something")))


def test_a_patient_in_two_splits_is_named(made: Made, tables: Write) -> None:
    cases, table = made(patients=6, splits=("train", "valid"))
    row = next(row for row, name in enumerate(cases.names) if name.endswith("_2"))
    splits = list(cases.splits)
    splits[row] = "test"
    _, truth = tables(replace(cases, splits=tuple(splits)), table)
    with pytest.raises(SplitLeak, match=f"one patient is in two splits: {cases.names[row]} in test, {cases.names[row - 1]} in "):
        cases_of_table(truth)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("VolumeName,x,patient\na,2,p\n", "labels must be 0, 1, -1 or empty, are not in columns x, rows a"),
        ("VolumeName,x,patient\na,yes,p\n", "cells that are no numbers, in columns x, rows a"),
        ("VolumeName,x,age,sex,patient\na,1,63,M,p\nb,0,41,,p\n", "cells that are no numbers, in columns sex, rows a"),
        ("VolumeName,x,age,patient\na,1,63,p\n", "are not in columns age, rows a"),
        ("VolumeName,x,patient\na,1,p\na,0,p\n", "rows of one volume twice: a"),
        ("VolumeName,x,patient\na,1\n", "lines 2 have more or fewer fields"),
        ("VolumeName,x\na,1\n", "no column patient, and names that are not CT-RATE's: a"),
        ("VolumeName,x,patient,split\na,1,p,all\n", "split must be one of train, dev, valid, test, is 'all'"),
        ("x,patient\n1,p\n", "a column VolumeName"),
        ("VolumeName,x,x\na,1,1\n", "each once"),
        ("VolumeName,x\n", "expected rows"),
        ("\xff\xfe", "not a CSV table in UTF-8|a column VolumeName"),
    ],
)
def test_tables_that_cannot_be_are_refused_by_row(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises((MetadataError, InputError), match=said):
        cases_of_table(path)


def test_labels_and_names_as_other_programs_write_them(tmp_path: Path) -> None:
    truth, scores = tmp_path / "labels.csv", tmp_path / "scores.csv"
    truth.write_text("VolumeName;lung nodule ;CARDIOMEGALY\nvalid_1_a_1;True;-1\nvalid_2_a_1;0,0;FALSE\nvalid_2_a_1;0;False\n")
    scores.write_text(",VolumeName,Lung nodule,Cardiomegaly,\n0,out\\valid_2_a_1.nii.gz ,0.2,0.3,\n1,valid_1_a_1.nii.gz,0.4,0.5,\n")
    cases = cases_of_table(truth)
    assert (cases.labels, cases.patients) == (("Lung nodule", "Cardiomegaly"), ("valid_1", "valid_2"))
    np.testing.assert_array_equal(cases.truth_NK, [[1, np.nan], [0, 0]])
    np.testing.assert_array_equal(join(cases, read_table(scores)).probabilities_NK, [[0.4, 0.5], [0.2, 0.3]])


def test_names_that_could_mean_two_volumes_are_matched_whole_or_not_at_all(tmp_path: Path) -> None:
    truth, scores = tmp_path / "labels.csv", tmp_path / "scores.csv"
    scores.write_text("VolumeName,Cardiomegaly\np1/CT.nii.gz,0.2\np2/CT.nii.gz,0.8\n")
    truth.write_text("VolumeName,patient,Cardiomegaly\np2/CT.nii.gz,b,1\np1/CT.nii.gz,a,0\n")
    np.testing.assert_array_equal(join(cases_of_table(truth), read_table(scores)).probabilities_NK, [[0.8], [0.2]])
    truth.write_text("VolumeName,patient,Cardiomegaly\nCT.nii.gz,b,1\n")
    with pytest.raises(InputError, match=r"1 of 1 labelled volumes have no probabilities: CT\.nii\.gz.* such as p1/CT\.nii\.gz"):
        join(cases_of_table(truth), read_table(scores))


def test_another_encoding_of_labels_is_named(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes("VolumeName,patient,x\na,Müller,1\n".encode("cp1252"))
    with pytest.raises(MetadataError, match="line 2 is not utf-8"):
        cases_of_table(path)
    assert cases_of_table(path, encoding="cp1252").patients == ("Müller",)
