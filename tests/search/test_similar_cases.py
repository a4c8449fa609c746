"""Cases that look like a scan: the nearest of other patients, by the index's model."""

from __future__ import annotations

from pathlib import Path

import pytest

from thoracle.cohort.reports import Report
from thoracle.ct.read import read
from thoracle.errors import IndexMissing
from thoracle.inference.demo.assets import write_model, write_scan
from thoracle.inference.model import load
from thoracle.inference.prepare import prepare
from thoracle.search.local.index import open_for_writing
from thoracle.search.record import IndexedVolume, Record
from thoracle.search.similar_cases import similar_cases


def test_the_nearest_come_first_and_the_scan_itself_not_at_all(tmp_path: Path) -> None:
    model, scan = load(write_model(tmp_path / "model").path), read(write_scan(tmp_path / "scan.nii.gz"))
    latent = model.encode_volume(prepare(scan, model.preprocess)).latent_BL[0].float().numpy()
    away = latent.copy()
    away[: len(away) // 2] *= -1
    additions = []
    for number, vector in enumerate((away, latent, -latent, (latent + 0.1 * away))):
        record = Record(
            volume=f"v{number}",
            scan=f"s{number}",
            accession=f"a{number}",
            patient=f"p{number}",
            report=Report(findings=f"Report {number}."),
        )
        additions.append(IndexedVolume(record=record, latent_L=vector / (vector @ vector) ** 0.5))
    with open_for_writing(tmp_path / "index", {**model.settings(), "dim_latent": model.dim_latent, "key": None}) as index:
        index.add(additions)
    notes: list[str] = []
    cases = similar_cases(str(tmp_path / "index"), scan=scan, k=2, detector=model, notify=notes.append)
    assert [(case.name, case.report) for case in cases] == [("a3", "Report 3."), ("a0", "Report 0.")]
    assert 1 > cases[0].similarity > cases[1].similarity
    assert notes == []
    with pytest.raises(IndexMissing):
        similar_cases(str(tmp_path / "none"), scan=scan, k=2, detector=model, notify=notes.append)
