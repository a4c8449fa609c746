"""Findings over the API are those of the command line; what a person says of them becomes labels."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.serving.conftest import Asked
from thoracle.inference.model import load
from thoracle.types import ABNORMALITIES


@pytest.fixture
def read(asked: Asked, scan: str) -> str:
    """A scan whose findings were read."""
    asked.done(asked.client.post(f"/scans/{scan}/findings"))
    return scan


def test_findings_are_those_of_the_library(asked: Asked, read: str, model_dir: Path, sketch: Path) -> None:
    import thoracle

    expected = json.loads(json.dumps(load(model_dir, device="cpu").detect(thoracle.read(sketch)).as_dict()))
    assert asked.client.get(f"/scans/{read}/findings.json").json() == expected
    document = asked.client.get(f"/scans/{read}/findings").json()
    plain = [{name: row[name] for name in expected["findings"][0]} for row in document["findings"]]
    assert {**document, "findings": plain} == expected
    assert document["findings"][0]["verdict_text"].endswith("not calibrated: no threshold says whether it is present")
    row = next(row for row in asked.client.get("/scans").json()["scans"] if row["id"] == read)
    assert row["findings"] == {row["abnormality"]: row["probability"] for row in expected["findings"]}


def test_findings_that_were_not_read_are_not_there(asked: Asked, scan: str) -> None:
    for path in ("findings", "findings.json", "report.html"):
        refused = asked.client.get(f"/scans/{scan}/{path}")
        assert (refused.status_code, refused.json()["error"]["kind"]) == (409, "NotReady")


def test_verdicts_of_a_person_become_a_table_of_labels(asked: Asked, read: str) -> None:
    probabilities = {row["name"]: row["probability"] for row in asked.client.get(f"/scans/{read}/findings").json()["findings"]}
    assert all(0 < p < 0.5 for p in probabilities.values()), "the model says of none that it is there"
    for name, verdict in (("Emphysema", "agree"), ("Pleural effusion", "disagree"), ("Atelectasis", "agree"), ("Atelectasis", None)):
        assert asked.client.put(f"/scans/{read}/verdicts/{name}", json={"verdict": verdict}).status_code == 204
    assert asked.client.get(f"/scans/{read}").json()["verdicts"] == {"Emphysema": "agree", "Pleural effusion": "disagree"}
    row = next(row for row in csv.DictReader(io.StringIO(asked.client.get("/verdicts.csv").text)) if row["VolumeName"] == read)
    assert set(row) == {"VolumeName", *ABNORMALITIES}
    assert {name: label for name, label in row.items() if label} == {"VolumeName": read, "Emphysema": "0", "Pleural effusion": "1"}


def test_an_opinion_on_a_verdict_that_cannot_tell_is_no_label(asked: Asked, read: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = asked.server.store.scan(read)
    assert opened.findings is not None
    rows = [replace(row, verdict="cannot tell", threshold=0.9, absent_at=0.0) for row in opened.findings.rows]
    monkeypatch.setattr(opened, "findings", replace(opened.findings, rows=rows))
    monkeypatch.setattr(opened, "verdicts", {"Emphysema": "agree", "Atelectasis": "disagree"})
    row = next(row for row in csv.DictReader(io.StringIO(asked.client.get("/verdicts.csv").text)) if row["VolumeName"] == read)
    assert {name: label for name, label in row.items() if label} == {"VolumeName": read}


@pytest.mark.parametrize(("name", "body"), [("Broken leg", {"verdict": "agree"}), ("Emphysema", {"verdict": "maybe"}), ("Emphysema", {})])
def test_what_is_no_verdict_is_refused(name: str, body: dict[str, str], asked: Asked, scan: str) -> None:
    assert asked.client.put(f"/scans/{scan}/verdicts/{name}", json=body).status_code == 422


def test_the_report_has_findings_and_the_notice(asked: Asked, read: str) -> None:
    page = asked.client.get(f"/scans/{read}/report.html").text
    assert "Research use only. Not a medical device." in page
    assert all(name in page for name in ABNORMALITIES)
