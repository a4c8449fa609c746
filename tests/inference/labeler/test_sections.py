from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thoracle.inference.labeler.sections import stating_parts


def stated(report: str) -> str:
    return "".join(report[begin:end] for begin, end in stating_parts(report)).strip()


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        ("Indication: pleural effusion, dyspnoea.", ""),
        ("Clinical history: emphysema. Findings: normal lungs.", "Findings: normal lungs."),
        ("HISTORY: COPD with emphysema\nFINDINGS: Lungs clear.", "FINDINGS: Lungs clear."),
        ("HISTORY\nCOPD with emphysema\nFINDINGS\nLungs clear", "FINDINGS\nLungs clear"),
        ("TECHNIQUE: For nodules.\n\nLungs are clear.", "Lungs are clear."),
        ("Comparison: CT with effusion. The lungs are clear.", "The lungs are clear."),
        ("History: emphysema and\nlung nodule.\nLungs are clear.", "Lungs are clear."),
        ("Clinical question: Consolidation? Nodes?\nHeart: normal.", "Heart: normal."),
        ("Comparison - effusion in March\nFindings - clear", "Findings - clear"),
        ("Clinical data\tnodule\nLungs\tclear", "Lungs\tclear"),
        ("Reason for exam: r/o nodule\nTechnique: helical\nImpression: Clear.", "Impression: Clear."),
        ("Patient with a history of effusion. The history is unclear.", "Patient with a history of effusion. The history is unclear."),
        ("No headings, no sections.", "No headings, no sections."),
        ("Comparison: None. Findings: Nodule. Technique: helical. Impression: Nodule.", "Findings: Nodule. Impression: Nodule."),
    ],
)
def test_what_asks_or_tells_of_the_past_is_left_out(report: str, expected: str) -> None:
    assert stated(report) == expected


@given(st.text(alphabet="aH:. \n", max_size=40))
def test_a_report_without_a_heading_is_whole(report: str) -> None:
    assert "".join(report[begin:end] for begin, end in stating_parts(report)) == report


@given(
    st.lists(st.sampled_from(["History: ", "Findings: ", "nodule", ". ", "\n", "\n\n", "Technique: ", "A", "Lungs\t"]), max_size=12).map(
        "".join
    )
)
def test_parts_stand_in_order_and_do_not_overlap(report: str) -> None:
    places = [place for part in stating_parts(report) for place in part]
    assert places == sorted(places)
    assert all(0 <= place <= len(report) for place in places)
