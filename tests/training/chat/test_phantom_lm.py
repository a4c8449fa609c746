"""What a small language model learns beside questions."""

from __future__ import annotations

import torch

from thoracle.training.chat.phantom_lm import checklist_conversations
from thoracle.types import ABNORMALITIES


def test_a_checklist_says_of_each_finding_whether_it_is_there_and_nothing_of_what_nobody_tells() -> None:
    told = torch.full((len(ABNORMALITIES), 3), torch.nan)
    unknown = told.clone()
    told[ABNORMALITIES.index("Cardiomegaly")] = torch.tensor([1.0, torch.nan, torch.nan])
    told[ABNORMALITIES.index("Lung nodule")] = 0.0
    (one,) = checklist_conversations(["v", "nobody knows"], {"v": told, "nobody knows": unknown}.__getitem__)
    assert one.images == ("v",)
    assert one.pairs[0].answer == "Findings: cardiomegaly yes, lung nodule no."
