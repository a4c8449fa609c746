"""Reports under the names of the index, one a scan, encoded as they are asked to be, and only where they changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thoracle.cohort.manifest import Cohort, CohortEntry
from thoracle.cohort.pseudonyms import SiteKey
from thoracle.cohort.reports import Report
from thoracle.errors import InputError
from thoracle.inference.demo.assets import write_model
from thoracle.inference.labeler.report_table import ReportTable
from thoracle.inference.model import Model, load
from thoracle.search.indexing import latent_settings
from thoracle.search.local.index import LocalIndex, open_for_writing
from thoracle.search.report_index import can_read_reports, cohort_reports, index_reports, table_reports

KEY = SiteKey(secret=bytes(range(32)))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(write_model(tmp_path_factory.mktemp("model") / "tiny").path, device="cpu")


def _entry(volume: str, **changes: Any) -> CohortEntry:
    values: dict[str, Any] = {
        "volume": volume,
        "scan": volume[:2],
        "patient": volume[0],
        "split": "train",
        "source_sha256": f"source{volume}",
        "cache": f"{volume}.vol",
        "cache_sha256": f"voxels{volume}",
        "report": Report(findings=f"Finding {volume[:2]}.", impression="Clear."),
        "labels": (1,) + (0,) * 17,
        "accession": f"ACC{volume[:2]}",
    }
    return CohortEntry(**values | changes)


def _cohort(model: Model, folder: Path) -> Cohort:
    entries = (_entry("A1x"), _entry("A1y"), _entry("A2x", split="valid"), _entry("B1x", report=Report()))
    return Cohort(folder=folder, preprocess=model.preprocess, entries=entries)


def test_a_scan_has_one_report_that_is_of_no_volume(model: Model, tmp_path: Path) -> None:
    records = cohort_reports(_cohort(model, tmp_path), None)
    assert [(record.volume, record.scan, record.accession) for record in records] == [
        ("A1", "A1", "ACCA1"),
        ("A2", "A2", "ACCA2"),
        ("B1", "B1", "ACCB1"),
    ]
    assert {(record.source_sha256, record.voxels_sha256) for record in records} == {("", "")}
    assert [record.scan for record in cohort_reports(_cohort(model, tmp_path), None, splits=["valid"])] == ["A2"]
    hidden = cohort_reports(_cohort(model, tmp_path), KEY)
    assert hidden[0].patient == hidden[1].patient == KEY.patient("A")


def test_sections_are_encoded_as_asked_and_what_changed_replaces_what_was(model: Model, tmp_path: Path) -> None:
    records = cohort_reports(_cohort(model, tmp_path), None)
    settings = {**latent_settings(model, key=None), "section": "findings"}
    with open_for_writing(tmp_path / "reports", settings) as index:
        assert index_reports(index, records, model, section="findings") == 2, "one has no words"
        assert index_reports(index, records, model, section="findings") == 0
        changed = cohort_reports(Cohort(folder=tmp_path, preprocess=model.preprocess, entries=(_entry("A1x", accession="new"),)), None)
        assert index_reports(index, changed, model, section="findings") == 1
    index = LocalIndex(tmp_path / "reports")
    assert len(index) == 2
    (number,) = index.ids_where(accession="new")
    np.testing.assert_allclose(index.latents([number])[0], model.encode_text(["Finding A1."])[0].numpy(), atol=1e-6)


def test_a_report_that_has_no_words_any_more_leaves(model: Model, tmp_path: Path) -> None:
    records = cohort_reports(_cohort(model, tmp_path), None)
    with open_for_writing(tmp_path / "reports", {**latent_settings(model, key=None), "section": "impression"}) as index:
        index_reports(index, records, model, section="impression")
        withdrawn = [replace(record, report=Report(findings="Findings alone.")) for record in records if record.scan == "A1"]
        assert index_reports(index, withdrawn, model, section="impression") == 0
        assert [record.scan for record in index.records(index.ids()).values()] == ["A2"]


def test_a_table_names_reports_and_patients(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("AccessionNo,report_text,who\nr1,Clear.,P\nr2,Nodule.,P\n")
    plain = table_reports(ReportTable(path=path, also=["who"]), None)
    assert [(record.volume, record.accession, record.patient, record.report.findings) for record in plain] == [
        ("r1", "r1", "P", "Clear."),
        ("r2", "r2", "P", "Nodule."),
    ]
    hidden = table_reports(ReportTable(path=path, also=["who"]), KEY)
    assert {record.patient for record in hidden} == {KEY.patient("P")}
    assert hidden[0].accession == KEY.accession("r1")
    assert [record.patient for record in table_reports(ReportTable(path=path), None)] == ["r1", "r2"]
    for text, fault in (("r1,a,P\nr1,b,P", "'r1': stands twice"), (",a,P", "1: has no name"), ("r1,,P", "'r1': has no text")):
        path.write_text(f"AccessionNo,report_text,who\n{text}\n")
        with pytest.raises(InputError, match=fault):
            table_reports(ReportTable(path=path), None)


def test_a_model_without_its_tokenizer_reads_no_reports(model: Model, tmp_path: Path) -> None:
    assert can_read_reports(model)
    folder = write_model(tmp_path / "mute").path
    for path in (folder / "tokenizer").iterdir():
        path.unlink()
    (folder / "tokenizer").rmdir()
    assert not can_read_reports(load(folder, device="cpu"))
