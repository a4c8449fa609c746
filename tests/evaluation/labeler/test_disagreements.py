from __future__ import annotations

import re

from thoracle.evaluation.labeler.disagreements import disagreements
from thoracle.evaluation.labeler.evaluate import Labelled
from thoracle.inference.labeler.evidence import Labels
from thoracle.inference.labeler.report_table import ReportRow
from thoracle.inference.labeler.rules import RuleLabeller
from thoracle.types import ABNORMALITIES, RESEARCH_USE

TEXTS = ("A nodule <4 mm is seen in the lingula. No effusion.", "The lungs are clear on both sides.", "")
NOTHING = Labels(values=(0,) * len(ABNORMALITIES))


def test_every_difference_is_shown_with_its_evidence_and_nothing_else() -> None:
    rules = tuple(RuleLabeller().label(TEXTS))
    rows = tuple(ReportRow(id=f"r{n}", text=text) for n, text in enumerate(TEXTS))
    content = disagreements(Labelled(rows=rows, reference=None, by_backend={"rules": rules, "other": (NOTHING, NOTHING, NOTHING)})).decode()
    assert RESEARCH_USE in content
    assert "2 of 3 reports" in content
    assert re.findall(r"<h2>(.*?)</h2>", content) == ["r0", "r2"]
    assert "A <mark>nodule</mark> &lt;4 mm is seen" in content
    assert "lung_nodule/nodule: affirmed in “A nodule &lt;4 mm is seen in the lingula”" in content
    assert "rules: no text" in content


def test_a_reference_is_a_party_where_it_says_something() -> None:
    rows = (ReportRow(id="r", text=TEXTS[0]),)
    rules = tuple(RuleLabeller().label(TEXTS[:1]))
    same = Labelled(rows=rows, reference=(rules[0].values,), by_backend={"rules": rules})
    assert "0 of 1 reports" in disagreements(same).decode()
    silent = Labelled(rows=rows, reference=((None,) * len(ABNORMALITIES),), by_backend={"rules": rules})
    assert "0 of 1 reports" in disagreements(silent).decode()
    unlike = Labelled(rows=rows, reference=(NOTHING.values,), by_backend={"rules": rules})
    assert "1 of 1 reports on which rules and the reference differ" in disagreements(unlike).decode()
