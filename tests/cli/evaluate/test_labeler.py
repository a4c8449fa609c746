from __future__ import annotations

import json
from pathlib import Path

from thoracle.types import ABNORMALITIES, RESEARCH_USE


def test_figures_and_disagreements_of_a_table(command, tmp_path: Path) -> None:
    path = tmp_path / "reports.csv"
    reports = (("A nodule is seen in the lingula.", 1), ("The lungs are clear on both sides.", 1), ("The heart is normal.", 0))
    rows = [
        f"r{n},{text},{','.join(str(nodule * (name == 'Lung nodule')) for name in ABNORMALITIES)}"
        for n, (text, nodule) in enumerate(reports)
    ]
    path.write_text("\n".join([f"AccessionNo,report_text,{','.join(ABNORMALITIES)}", *rows]))
    out, page = tmp_path / "figures.json", tmp_path / "page.html"
    ran = command("evaluate", "labeler", path, "--out", out, "--disagreements", page, "--resamples", 20)
    assert ran.status == 0, ran.err
    assert RESEARCH_USE in ran.out
    figures = json.loads(out.read_text())["backends"]["auto"]
    assert figures["labels"]["Lung nodule"]["recall"]["value"] == 0.5
    assert figures["reports"] == 3
    read = page.read_text()
    assert ">r1<" in read
    assert ">r0<" not in read


def test_backends_are_compared_without_labels(command, tmp_path: Path) -> None:
    path = tmp_path / "reports.csv"
    path.write_text("AccessionNo,report_text\na,A nodule is seen in the lingula.\n")
    page = tmp_path / "page.html"
    ran = command("evaluate", "labeler", path, "--no-reference", "--backend", "rules", "--backend", "auto", "--disagreements", page)
    assert ran.status == 0, ran.err
    assert "0 of 1 reports on which rules and auto differ" in page.read_text()
