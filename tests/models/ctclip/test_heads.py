"""LiPro as published, and labels that look at tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from thoracle.models.ctclip.config import PRESETS
from thoracle.models.ctclip.heads import LabelAttention, LinearClassifier
from thoracle.models.registry import REGISTRY


@pytest.mark.parametrize("number", ["", "2"])
def test_published_lipro(golden_dir: Path, error: Callable, number: str) -> None:
    folder = golden_dir / "published"
    weights = torch.load(folder / f"lipro{number}_checkpoint.pt", weights_only=True)
    expected = load_file(folder / f"ctclip{number}_expected.safetensors")
    head = LinearClassifier(32, n_labels=18).eval()
    head.load_state_dict({key: value for key, value in weights.items() if not key.startswith("trained_model.")})
    with torch.no_grad():
        assert error(head(expected["image_latents"]), expected["lipro_logits"]) < 1e-6


def test_lipro_drops_out_in_training() -> None:
    torch.manual_seed(0)
    head, latent = LinearClassifier(64, n_labels=3), torch.ones(1, 64)
    assert not torch.equal(head(latent), head(latent))


def test_labels_look_at_places_and_where_told_at_each_other() -> None:
    torch.manual_seed(0)
    head = LabelAttention(replace(PRESETS["tiny"], label_self_attention=True), n_labels=4).eval()
    torch.nn.init.normal_(head.pos_embed_t)
    tokens = torch.randn(3, 6, 6, 6, 64)
    with torch.no_grad():
        logits = head(tokens)
        assert logits.shape == (3, 4)
        torch.testing.assert_close(head(tokens[1:2]), logits[1:2])  # volumes do not see each other
        assert (head(tokens.flip(1)) - logits).abs().min() > 1e-6  # a token elsewhere is another
        head.labels[3] = torch.randn(64)  # one label's question is heard by the others
        assert ((head(tokens) - logits).abs() > 1e-6).all()
        head.self_attention.out_proj.weight.zero_()
        alone = head(tokens)
        head.labels[3] = torch.randn(64)
        assert ((head(tokens) - alone).abs() > 1e-6).tolist() == [[False, False, False, True]] * 3


def test_by_default_a_label_does_not_hear_of_the_others() -> None:
    torch.manual_seed(0)
    head = LabelAttention(PRESETS["tiny"], n_labels=4).eval()
    assert not any(name.startswith("self_") for name in head.state_dict())
    tokens = torch.randn(3, 6, 6, 6, 64)
    with torch.no_grad():
        alone = head(tokens)
        head.labels[3] = torch.randn(64)
        assert ((head(tokens) - alone).abs() > 1e-6).tolist() == [[False, False, False, True]] * 3


def test_a_folder_of_before_the_switch_has_labels_that_meet() -> None:
    read = REGISTRY["ct-clip-classifier"].read_config
    assert read({"head": "label-attention"}).label_self_attention
    assert not read({"head": "label-attention", "label_self_attention": False}).label_self_attention
    assert not read({"head": "linear"}).label_self_attention
