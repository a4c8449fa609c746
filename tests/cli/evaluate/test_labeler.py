from __future__ import annotations

import json
from pathlib import Path

from thoracle.types import ABNORMALITIES, RESEARCH_USE


def test_figures_and_disagreements_of_a_table(command, tmp_path: Path) -> None:
    labels = ",".join("1" if name == "Lung nodule" else "0" for name in ABNORMALITIES)
    path = tmp_path / "reports.csv"
    texts = ("A nodule is seen in the lingula.", "The lungs are clear on both sides.")
    path.write_text("\n".join([f"AccessionNo,report_text,{','.join(ABNORMALITIES)}", *(f"r{n},{t},{labels}" for n, t in enumerate(texts))]))
    out, page = tmp_path / "figures.json", tmp_path / "page.html"
    ran = command("evaluate", "labeler", path, "--out", out, "--disagreements", page, "--resamples", 20)
    assert ran.status == 0, ran.err
    assert RESEARCH_USE in ran.out
    figures = json.loads(out.read_text())["backends"]["auto"]
    assert figures["labels"]["Lung nodule"]["recall"]["value"] == 0.5
    assert figures["reports"] == 2
    assert "r1" in page.read_text()


def test_backends_are_compared_without_labels(command, tmp_path: Path) -> None:
    path = tmp_path / "reports.csv"
    path.write_text("AccessionNo,report_text\na,A nodule is seen in the lingula.\n")
    page = tmp_path / "page.html"
    ran = command("evaluate", "labeler", path, "--no-reference", "--backend", "rules", "--backend", "auto", "--disagreements", page)
    assert ran.status == 0, ran.err
    assert "0 of 1 reports on which rules and auto differ" in page.read_text()
