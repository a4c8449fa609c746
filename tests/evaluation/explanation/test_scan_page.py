"""The page of one scan's maps: what a reader is told beside each picture."""

from __future__ import annotations

from thoracle.evaluation.explanation.scan_page import write_scan_page
from thoracle.inference.explain import Slab
from thoracle.inference.explanation_json import ExplainedFinding
from thoracle.inference.localization.measured import Lead, MeasuredFinding
from thoracle.inference.localization.strongest_place import StrongestPlace
from thoracle.types import RESEARCH_USE

PLACE = StrongestPlace(side="right", lobe="right upper lobe")


def explained(name: str, *, low: float | None) -> ExplainedFinding:
    measured = None if low is None else MeasuredFinding(volumes=9, lead={"dice": Lead(value=0.5, low=low, high=1.0)}, side=None, lobe=None)
    layer = Slab(first=3, last=5, middle=4, z_mm=-12.5, fraction=0.75)
    return ExplainedFinding(finding=name, probability=0.25, stem="x", layers=(layer,), location=PLACE, measured=measured)


def test_every_finding_says_whether_its_map_is_better_than_where_it_usually_lies() -> None:
    findings = [explained("Emphysema", low=-0.1), explained("Lung nodule", low=0.1), explained("<Gout>", low=None)]
    pictures = {"Emphysema": b"png", "Lung nodule": b"", "<Gout>": b""}
    measured_on = "9 volumes of 7 phantom patients of split dev"
    content = write_scan_page(findings, pictures, method="gradient", slices=30, measured_on=measured_on, notes=["A note."]).decode()
    emphysema, nodule, gout = content.split("<h2>")[1:]
    assert "No better than where this finding usually lies." in emphysema
    assert "data:image/png" in emphysema
    assert "4 to 6 of 30" in emphysema
    assert "By dice better than where this finding usually lies." in nodule
    assert "Nothing in the scan speaks for it." in nodule
    assert "Not measured against where it usually lies." in gout
    assert "Strongest on the right (how often the side is right was not measured)." in gout
    assert "&lt;Gout&gt;" in gout
    assert measured_on in content
    assert "in patients is not known" in content
    assert RESEARCH_USE in content
    assert "A note." in content
