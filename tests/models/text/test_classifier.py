"""The report labeller as published."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file

from thoracle.models.text.classifier import TextClassifier
from thoracle.models.text.config import TextConfig


def test_published_text_classifier(golden_dir: Path, error: Callable) -> None:
    folder = golden_dir / "published"
    config = TextConfig(**json.loads((folder / "text_classifier_config.json").read_text()), position_scheme="roberta")
    labeller = TextClassifier(config, n_labels=18).eval()
    labeller.load_state_dict(torch.load(folder / "text_classifier_checkpoint.pth", weights_only=True))
    expected = load_file(folder / "text_classifier_expected.safetensors")
    with torch.no_grad():
        assert error(labeller(expected["input_ids"], expected["attention_mask"]), expected["logits"]) < 1e-6


def test_a_labeller_may_read_the_first_token_as_ct_clip_does() -> None:
    torch.manual_seed(0)
    config = TextConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, cls_source="hidden")
    labeller, ids = TextClassifier(config, n_labels=3).eval(), torch.arange(6).view(1, 6)
    mask = torch.ones_like(ids)
    logits = labeller(ids, mask)
    torch.testing.assert_close(logits, labeller.classifier(labeller.model(ids, mask).hidden_BND[:, 0]))
    logits.sum().backward()
    assert all((parameter.grad is not None) == parameter.requires_grad for parameter in labeller.parameters())
