"""Scans of which questions are made: drawn by hypothesis, and a fixed list."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from thoracle.cohort.vqa.attributes import COUNTS, LOBES, SEVERITIES, SIDES, FindingAttributes
from thoracle.cohort.vqa.case import Case
from thoracle.types import ABNORMALITIES

_ATTRIBUTES = st.builds(
    FindingAttributes,
    side=st.sampled_from((*SIDES, None)),
    lobes=st.lists(st.sampled_from(LOBES), unique=True, max_size=3).map(tuple),
    size_mm=st.one_of(st.none(), st.integers(1, 300).map(float)),
    count=st.sampled_from((*COUNTS, None)),
    severity=st.sampled_from((*SEVERITIES, None)),
)


@st.composite
def drawn_case(draw: st.DrawFn) -> Case:
    """Any labels, unknown ones too, and any attributes of what is there."""
    labels = tuple(draw(st.sampled_from((0, 0, 0, 1, 1, None))) for _ in ABNORMALITIES)
    facts = {name: draw(_ATTRIBUTES) for name, label in zip(ABNORMALITIES, labels, strict=True) if label == 1}
    return Case(volume=f"v{draw(st.integers(0, 99))}", patient="p", visit=None, labels=labels, facts=facts, report="Normal.")


def fixed_cases(count: int, *, prevalence: float = 0.3) -> list[Case]:
    """Two visits a patient; what is there lies in one lobe and measures 12 mm."""
    rng = np.random.default_rng(0)
    cases = []
    for k in range(count):
        labels = tuple(int(label) for label in rng.random(18) < prevalence)
        facts = {
            name: FindingAttributes(side="left", lobes=("left upper lobe",), size_mm=12.0, count="two", severity="mild")
            for name, label in zip(ABNORMALITIES, labels, strict=True)
            if label
        }
        cases.append(Case(volume=f"v{k}", patient=f"p{k // 2}", visit=1 + k % 2, labels=labels, facts=facts, report=f"Report {k}."))
    return cases
