"""The report has what was read, where, and what was said, and escapes what others wrote."""

from __future__ import annotations

from pathlib import Path

from thoracle.client.forms.scans import ChatTurn, FindingMap, FindingRow, StrongestSlice
from thoracle.serving.report import report_page
from thoracle.serving.scan_store import OpenScan
from thoracle.serving.work.results import FindingsRead


def row(name: str, probability: float) -> FindingRow:
    return FindingRow(
        name=name, abnormality=name, probability=probability, threshold=None, absent_at=None, verdict=None,
        verdict_text=f"{probability}, not calibrated", calibrated=False, agreed=None, prompts=None,
    )  # fmt: skip


def test_a_report_sorts_findings_and_has_maps_and_answers() -> None:
    scan = OpenScan(id="i", folder=Path("/x"), label="Scan 1", verdicts={"Atelectasis": "disagree"})
    document = {
        "warnings": ["It ends before the lungs do."],
        "model": {"kind": "ct-clip", "sha256": "a" * 64},
        "thoracle": "0",
        "provenance": None,
    }
    scan.findings = FindingsRead(document=document, rows=[row("Emphysema", 0.1), row("Atelectasis", 0.9)])
    made = StrongestSlice(axis="axial", index=41, mm=[0, 0, 0], share=0.5)
    scan.maps["Atelectasis", "regions"] = FindingMap(
        finding="Atelectasis",
        method="regions",
        slice=made,
        where="strongest on the left",
        sentence="not measured",
        range=[0, 1],
        signed=False,
    )
    scan.conversation.append(ChatTurn(question="<b>?</b>", answer="No.", task="long_answer", grounded=False, citations=[]))
    page = report_page(scan, scan.findings).decode()
    assert page.index("Atelectasis") < page.index("Emphysema")
    for words in (
        "Scan 1",
        "It ends before the lungs do.",
        "disagreed",
        "axial slice 42, strongest on the left",
        "&lt;b&gt;",
        "A: No.",
        "aaaaaaaaaaaa",
    ):
        assert words in page
    assert "<b>" not in page
