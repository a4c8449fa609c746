from __future__ import annotations

import math

import pytest
import torch

from thoracle.training.labeler.task import LabelledReportText, ReportDataset, labels_loss, prompt_reports
from thoracle.types import ABNORMALITIES


def test_equal_texts_are_on_one_side_whatever_their_order() -> None:
    reports = [LabelledReportText(name=str(n), text=f"Report {n % 50}.", labels=(0,) * 18) for n in range(100)]
    training, validation = ReportDataset.split(reports)
    assert {one.text for one in training.reports}.isdisjoint(one.text for one in validation.reports)
    assert 0 < len(validation) < len(training)
    again, _ = ReportDataset.split(reports[::-1])
    assert {one.name for one in again.reports} == {one.name for one in training.reports}


def test_labels_nobody_gave_teach_nothing() -> None:
    logits = torch.zeros(1, 3, requires_grad=True)
    loss = labels_loss(logits, torch.tensor([[1.0, 0.0, math.nan]]))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2))
    assert logits.grad is not None
    assert logits.grad.tolist() == [[-0.25, 0.25, 0.0]]
    assert labels_loss(torch.zeros(1, 1), torch.tensor([[math.nan]])).item() == 0


def test_prompts_as_reports_state_what_they_say() -> None:
    labelled = LabelledReportText(name="one", text="Nothing.", labels=(0,) * len(ABNORMALITIES))
    said = {one.text: one.labels for one in prompt_reports([labelled])}
    assert len(said) == 2 * len(ABNORMALITIES)
    assert said["Pleural effusion is present."] == tuple(int(name == "Pleural effusion") for name in ABNORMALITIES)
    assert not any(said["Pleural effusion is not present."])


def test_what_no_report_is_labelled_for_is_in_no_prompt() -> None:
    withheld = ABNORMALITIES.index("Emphysema")
    labels = tuple(None if number == withheld else 0 for number in range(len(ABNORMALITIES)))
    prompts = prompt_reports([LabelledReportText(name="one", text="Nothing.", labels=labels)])
    assert len(prompts) == 2 * len(ABNORMALITIES) - 2
    assert not any("Emphysema" in prompt.text for prompt in prompts)
    assert {prompt.labels[withheld] for prompt in prompts} == {None}
